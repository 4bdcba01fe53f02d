//! I/O ports: the serial port's, and those that end a machine.

use super::layout::{KEYBOARD_COMMAND_PORT, SERIAL_PORT, SLEEP_CONTROL_PORT};
use crate::devices::Place;

/// The keyboard controller's command that resets the machine.
pub(super) const RESET_COMMAND: u8 = 0xfe;
/// The sleep type that powers the machine off.
pub(super) const SLEEP_TYPE_OFF: u8 = 5;

const SLEEP_ENABLE: u8 = 1 << 5;

/// Where the serial port's registers begin.
pub(crate) const SERIAL: Place = Place::Port(SERIAL_PORT);

/// What this architecture has beside the serial port: the places that end a machine. The time is
/// KVM's to tell (kvmclock).
#[derive(Debug)]
pub(crate) struct BoardDevices;

impl BoardDevices {
    /// Those of a new machine.
    pub(crate) fn new() -> Self {
        Self
    }

    /// Answers a vCPU's read: ones, where nothing is, but a keyboard controller that is ready for a
    /// command.
    pub(crate) fn read(&mut self, place: Place, data: &mut [u8]) {
        data.fill(match place {
            Place::Port(KEYBOARD_COMMAND_PORT) => 0,
            _ => 0xff,
        });
    }

    /// Takes a vCPU's write. True if it is a reset or a power-off.
    pub(crate) fn write(&mut self, place: Place, data: &[u8]) -> bool {
        const POWER_OFF: u8 = SLEEP_ENABLE | SLEEP_TYPE_OFF << 2;
        matches!(
            (place, data),
            (Place::Port(KEYBOARD_COMMAND_PORT), [RESET_COMMAND])
                | (Place::Port(SLEEP_CONTROL_PORT), [POWER_OFF])
        )
    }
}
