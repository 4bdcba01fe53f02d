// The self-test's guest. Entered in long mode at CPL 0 with descriptor tables, a task state segment
// and the first 2 MiB mapped one to one, for user mode too. It reports each step that worked with a
// byte on REPORT_PORT, and ends with ud2, for which there is no handler, when one did not.

.set REPORT_PORT, 0xf4
.set STEP_STARTED, 1
.set STEP_PAGE_FAULT, 2
.set STEP_SYSTEM_CALL, 3
.set STEP_DONE, 4

.set ALIAS, 0x40000000          // not mapped until the page fault handler maps it onto 0
.set FIRST_CALL, 0x1111
.set LAST_CALL, 0x2222
.set TIMER_VECTOR, 0x40
.set TIMER_TICKS, 10000

.set MSR_APIC_BASE, 0x1b
.set MSR_X2APIC_EOI, 0x80b
.set MSR_X2APIC_SPURIOUS, 0x80f
.set MSR_X2APIC_LVT_TIMER, 0x832
.set MSR_X2APIC_INITIAL_COUNT, 0x838
.set MSR_X2APIC_DIVIDE, 0x83e
.set MSR_STAR, 0xc0000081
.set MSR_LSTAR, 0xc0000082
.set MSR_SYSCALL_MASK, 0xc0000084

.pushsection .rodata.terrarium_self_test, "a", @progbits
.balign 16
.global terrarium_self_test_start
terrarium_self_test_start:
    mov al, STEP_STARTED
    out REPORT_PORT, al

    // A page fault: the handler maps the page, the load is tried again and sees the same byte.
    lea rbx, [rip + witness]
    mov ecx, ALIAS
    mov dl, [rbx + rcx]
    cmp dl, 0xa5
    jne broken
    mov al, STEP_PAGE_FAULT
    out REPORT_PORT, al

    // System calls enter at the kernel's code segment and return to the user's.
    xor eax, eax
    mov edx, 0x00180008
    mov ecx, MSR_STAR
    wrmsr
    lea rax, [rip + system_call]
    xor edx, edx
    mov ecx, MSR_LSTAR
    wrmsr
    mov eax, 0x200
    mov ecx, MSR_SYSCALL_MASK
    wrmsr

    // To user mode, with interrupts on.
    push 0x23
    push 0xb000
    push 0x202
    push 0x2b
    lea rax, [rip + user]
    push rax
    iretq

user:
    mov edi, FIRST_CALL
    syscall
    mov ax, cs
    and eax, 3
    cmp eax, 3
    jne broken
    // The timer must interrupt this.
wait:
    pause
    cmp byte ptr [rip + ticked], 0
    je wait
    mov edi, LAST_CALL
    syscall
    jmp broken

system_call:
    mov ax, cs
    test al, 3
    jnz broken
    cmp edi, LAST_CALL
    je done
    cmp edi, FIRST_CALL
    jne broken
    mov r8, rcx
    mov al, STEP_SYSTEM_CALL
    out REPORT_PORT, al

    // The local APIC in x2APIC mode, its timer once.
    mov ecx, MSR_APIC_BASE
    rdmsr
    or eax, 0xc00
    wrmsr
    xor edx, edx
    mov eax, 0x1ff
    mov ecx, MSR_X2APIC_SPURIOUS
    wrmsr
    mov eax, 0xb
    mov ecx, MSR_X2APIC_DIVIDE
    wrmsr
    mov eax, TIMER_VECTOR
    mov ecx, MSR_X2APIC_LVT_TIMER
    wrmsr
    mov eax, TIMER_TICKS
    mov ecx, MSR_X2APIC_INITIAL_COUNT
    wrmsr
    mov rcx, r8
    sysretq

done:
    mov al, STEP_DONE
    out REPORT_PORT, al
broken:
    ud2

.global terrarium_self_test_page_fault
terrarium_self_test_page_fault:
    push rax
    push rcx
    // Error code 0: a read from CPL 0 of a page that is not present.
    cmp qword ptr [rsp + 16], 0
    jne broken
    lea rax, [rbx + ALIAS]
    mov rcx, cr2
    cmp rax, rcx
    jne broken
    // The second gigabyte becomes the first one again.
    mov rax, [0x2000]
    mov [0x2008], rax
    pop rcx
    pop rax
    add rsp, 8
    iretq

.global terrarium_self_test_timer
terrarium_self_test_timer:
    push rax
    push rcx
    push rdx
    // It must have come from user mode.
    mov rax, [rsp + 32]
    and eax, 3
    cmp eax, 3
    jne broken
    mov byte ptr [rip + ticked], 1
    xor eax, eax
    xor edx, edx
    mov ecx, MSR_X2APIC_EOI
    wrmsr
    pop rdx
    pop rcx
    pop rax
    iretq

witness: .byte 0xa5
ticked: .byte 0
.global terrarium_self_test_end
terrarium_self_test_end:
.popsection
