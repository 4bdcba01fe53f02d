//! What only aarch64 has: accesses that the CPU does not describe.

use vmm::VmExit;
use vmm::config::Arch;

use crate::LONG;
use crate::support::bare_metal::run;
use crate::support::wait;

#[test]
fn an_instruction_that_kvm_gives_up_on_is_explained() {
    if Arch::HOST != Arch::Aarch64 {
        return;
    }
    // mov x1, 0x9000000; str x2, [x1], 8: the CPU tells nothing of a store that changes its address, too.
    let code: &[u8] = &[0x01, 0x20, 0xa1, 0xd2, 0x22, 0x84, 0x00, 0xf8];
    let Some((mut machine, _output)) = run(1, &[code]) else {
        return;
    };
    let exit = wait(&mut *machine, LONG);
    let Some(VmExit::Stuck { reason, registers }) = exit else {
        panic!("{exit:?}");
    };
    assert!(reason.contains("pc 0x40"), "{reason}");
    assert!(registers.concat().contains("pstate 0x"), "{registers:?}");
}
