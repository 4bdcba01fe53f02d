// The self-test's guest. Entered at EL1 without translation, with page tables ready and the version of
// the GIC in x0. It reports each step that worked with a byte at REPORT, and anything that did not
// with another one.
//
// The tables map the first 2 MiB to themselves, for EL0 too, read-only; the same again from WRITABLE
// on, for EL1 to write; and the registers that are used here.

.set STEP_STARTED, 1
.set STEP_PAGE_FAULT, 2
.set STEP_SYSTEM_CALL, 3
.set STEP_DONE, 4
.set STEP_BROKEN, 0xff

.set REPORT_HIGH, 0x2000                // the upper halves of addresses
.set WRITABLE_HIGH, 0x20
.set ALIAS_HIGH, 0x4000                 // not mapped until the fault handler maps it onto 0
.set GIC_DISTRIBUTOR_HIGH, 0x0800
.set GIC_CPU_INTERFACE_HIGH, 0x0801
.set GIC_REDISTRIBUTOR_SGI_HIGH, 0x1001
.set TABLE, 0x1000
.set FIRST_CALL, 0x1111
.set LAST_CALL, 0x2222
.set TIMER_INTERRUPT, 27
.set TIMER_TICKS, 10000

.set ABORT_FROM_EL1, 0x25               // exception classes
.set CALL_FROM_EL0, 0x15
.set TRANSLATION_FAULT_LEVEL_1, 5

.macro report step
    mov w1, #\step
    strb w1, [x21]
.endm

.macro vector target
    .balign 128
    b \target
.endm

.pushsection .rodata.terrarium_self_test, "a", %progbits
.balign 2048
.global terrarium_self_test_start
terrarium_self_test_start:
    mov x19, x0                         // the GIC's version
    mov x20, #0                         // not 0 once the timer has interrupted EL0
    movz x21, #REPORT_HIGH, lsl #16
    report STEP_STARTED

    adr x1, vectors
    msr vbar_el1, x1
    mov x1, #0xff00                     // memory types: 0 device, 1 normal
    msr mair_el1, x1
    movz x1, #0x3519                    // 39 bits of address, 4 KiB pages, cacheable walks
    movk x1, #0x0080, lsl #16           // nothing in the upper half
    msr tcr_el1, x1
    mov x1, #TABLE
    msr ttbr0_el1, x1
    isb
    movz x1, #0x1805                    // translation, caches
    movk x1, #0x30d0, lsl #16
    msr sctlr_el1, x1
    isb

    // A fault: the handler maps the address, the load is tried again and sees the same byte.
    adr x22, witness
    movz x23, #ALIAS_HIGH, lsl #16
    add x24, x22, x23
    ldrb w1, [x24]
    cmp w1, #0xa5
    b.ne broken
    report STEP_PAGE_FAULT

    // To EL0, with interrupts on.
    adr x1, user
    msr elr_el1, x1
    msr spsr_el1, xzr
    eret

user:
    svc #FIRST_CALL
    // The timer must interrupt this.
wait:
    yield
    cbz x20, wait
    svc #LAST_CALL
    b broken

fault:
    mrs x1, esr_el1
    lsr x2, x1, #26
    cmp x2, #ABORT_FROM_EL1
    b.ne broken
    and x2, x1, #0x3f
    cmp x2, #TRANSLATION_FAULT_LEVEL_1
    b.ne broken
    mrs x2, far_el1
    cmp x2, x24
    b.ne broken
    // The second gigabyte becomes the first one again.
    movz x2, #TABLE
    movk x2, #WRITABLE_HIGH, lsl #16
    ldr x3, [x2]
    str x3, [x2, #8]
    dsb ish
    isb
    eret

system_call:
    mrs x1, spsr_el1
    tst x1, #0xf
    b.ne broken
    mrs x1, esr_el1
    lsr x2, x1, #26
    cmp x2, #CALL_FROM_EL0
    b.ne broken
    and x1, x1, #0xffff
    mov x2, #LAST_CALL
    cmp x1, x2
    b.eq done
    mov x2, #FIRST_CALL
    cmp x1, x2
    b.ne broken
    report STEP_SYSTEM_CALL

    // Its interrupt at the GIC, then the timer once.
    movz x2, #GIC_DISTRIBUTOR_HIGH, lsl #16
    mov w4, #(1 << TIMER_INTERRUPT)
    cmp x19, #3
    b.ne enable_gicv2
    mov w3, #0x12                       // affinity routing, group 1
    str w3, [x2]
    movz x2, #GIC_REDISTRIBUTOR_SGI_HIGH, lsl #16
    mov w3, #-1
    str w3, [x2, #0x80]                 // GICR_IGROUPR0
    str w4, [x2, #0x100]                // GICR_ISENABLER0
    mov x3, #0xff
    msr S3_0_C4_C6_0, x3                // ICC_PMR_EL1
    mov x3, #1
    msr S3_0_C12_C12_7, x3              // ICC_IGRPEN1_EL1
    b start_timer
enable_gicv2:
    mov w3, #1
    str w3, [x2]                        // GICD_CTLR
    str w4, [x2, #0x100]                // GICD_ISENABLER0
    movz x2, #GIC_CPU_INTERFACE_HIGH, lsl #16
    mov w3, #0xff
    str w3, [x2, #4]                    // GICC_PMR
    mov w3, #1
    str w3, [x2]                        // GICC_CTLR
start_timer:
    mov x3, #TIMER_TICKS
    msr cntv_tval_el0, x3
    mov x3, #1
    msr cntv_ctl_el0, x3
    isb
    eret

timer:
    // It must have come from EL0.
    mrs x1, spsr_el1
    tst x1, #0xf
    b.ne broken
    cmp x19, #3
    b.ne acknowledge_gicv2
    mrs x1, S3_0_C12_C12_0              // ICC_IAR1_EL1
    cmp x1, #TIMER_INTERRUPT
    b.ne broken
    msr cntv_ctl_el0, xzr
    isb
    msr S3_0_C12_C12_1, x1              // ICC_EOIR1_EL1
    b acknowledged
acknowledge_gicv2:
    movz x2, #GIC_CPU_INTERFACE_HIGH, lsl #16
    ldr w1, [x2, #0xc]                  // GICC_IAR
    and w3, w1, #0x3ff
    cmp w3, #TIMER_INTERRUPT
    b.ne broken
    msr cntv_ctl_el0, xzr
    isb
    str w1, [x2, #0x10]                 // GICC_EOIR
acknowledged:
    mov x20, #1
    eret

done:
    report STEP_DONE
broken:
    report STEP_BROKEN
    b broken

witness: .byte 0xa5

.balign 2048
vectors:
    vector broken                       // EL1 with EL0's stack
    vector broken
    vector broken
    vector broken
    vector fault                        // EL1: synchronous, interrupts, error
    vector broken
    vector broken
    vector broken
    vector system_call                  // EL0: synchronous, interrupts, error
    vector timer
    vector broken
    vector broken
    vector broken                       // EL0 with 32 bits
    vector broken
    vector broken
    vector broken
.global terrarium_self_test_end
terrarium_self_test_end:
.popsection
