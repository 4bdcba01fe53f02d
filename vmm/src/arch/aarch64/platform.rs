//! The devices beside those of virtio: a serial port, and a clock. Machines end by PSCI, which is
//! KVM's.

use vm_superio::Rtc;
use vm_superio::rtc_pl031::NoEvents;

use super::layout;
use crate::devices::Place;

/// Where the serial port's registers begin.
pub(crate) const SERIAL: Place = Place::Memory(layout::SERIAL);

/// Where the clock's registers begin.
const CLOCK: Place = Place::Memory(layout::CLOCK);

/// What this architecture has beside: a PL031, because KVM tells no guest of arm64 the time of day.
#[derive(Debug)]
pub(crate) struct BoardDevices {
    clock: Rtc<NoEvents>,
}

impl BoardDevices {
    /// Those of a new machine, with the host's time.
    pub(crate) fn new() -> Self {
        Self { clock: Rtc::new() }
    }

    /// Answers a vCPU's read: ones, where nothing is.
    pub(crate) fn read(&mut self, place: Place, data: &mut [u8]) {
        data.fill(0xff);
        if let (Some(register), Ok(data)) = (clock_register(place), data.try_into()) {
            self.clock.read(register, data);
        }
    }

    /// Takes a vCPU's write. None ends the machine.
    pub(crate) fn write(&mut self, place: Place, data: &[u8]) -> bool {
        if let (Some(register), Ok(data)) = (clock_register(place), data.try_into()) {
            self.clock.write(register, data);
        }
        false
    }
}

/// The clock's register at a place, by its offset.
fn clock_register(place: Place) -> Option<u16> {
    let offset = place.offset_from(CLOCK)?;
    u16::try_from(offset)
        .ok()
        .filter(|_| offset < layout::CLOCK_SIZE)
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    fn read(devices: &mut BoardDevices, offset: u64) -> u32 {
        let mut data = [0; 4];
        devices.read(Place::Memory(layout::CLOCK + offset), &mut data);
        u32::from_le_bytes(data)
    }

    #[test]
    fn the_clock_is_the_hosts_and_says_what_it_is() {
        let mut devices = BoardDevices::new();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        assert!(u64::from(read(&mut devices, 0)).abs_diff(now.as_secs()) <= 2);
        // The peripheral and PrimeCell identification registers (Arm DDI 0224, table 3-1).
        let mut identity = |first: u64| {
            (0..4).fold(0, |id, register| {
                id >> 8 | read(&mut devices, first + 4 * register) << 24
            })
        };
        assert_eq!(identity(0xfe0), 0x0004_1031);
        assert_eq!(identity(0xff0), 0xb105_f00d);
    }

    #[test]
    fn setting_the_clock_is_this_machines_affair() {
        let mut devices = BoardDevices::new();
        let load = Place::Memory(layout::CLOCK + 8);
        assert!(!devices.write(load, &1_000_u32.to_le_bytes()));
        assert!((1_000..1_010).contains(&read(&mut devices, 0)));
    }

    #[test]
    fn there_is_nothing_beside_it() {
        let mut devices = BoardDevices::new();
        for place in [layout::CLOCK - 4, layout::CLOCK + layout::CLOCK_SIZE, 0] {
            let mut data = [0; 4];
            devices.read(Place::Memory(place), &mut data);
            assert_eq!(data, [0xff; 4]);
            assert!(!devices.write(Place::Memory(place), &data));
        }
        // Registers are words.
        let mut data = [0; 2];
        devices.read(CLOCK, &mut data);
        assert_eq!(data, [0xff; 2]);
    }
}
