//! The control protocol: small messages, each in a frame of its own, over one port.
//!
//! A frame is a little-endian `u16` length and as many bytes of postcard. Neither side waits for
//! the other: the guest speaks first ([`GuestMessage::Ready`]), and either may stop at any time.
//!
//! Standard streams run over ports of their own, which have no order with this one; so a message
//! that ends a stream says how many bytes the stream carried before its end.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The longest frame, in bytes without its length. Longer ones are an error on either side.
pub const MAX_FRAME: usize = 4096;

/// Bytes of the message in [`GuestMessage::Failed`]; longer ones are cut by [`failed`].
pub const MAX_MESSAGE: usize = 2048;

/// What the host tells the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostMessage {
    /// The host's terminal has a new size.
    Resize(crate::spec::TerminalSize),
    /// Send this signal (Linux number) to the command's process group.
    Signal(u8),
    /// Standard input ended after this many bytes in all.
    StdinEnd {
        /// Bytes sent on [`crate::ports::STDIO`] since the start.
        bytes: u64,
    },
    /// Nobody reads this stream any more: close it, so that the command's next write fails with
    /// `EPIPE` (and `SIGPIPE`) as it would in a pipeline.
    OutputClosed(OutputStream),
}

/// What the guest tells the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GuestMessage {
    /// guest-init runs and has read the run specification.
    Ready {
        /// `CLOCK_BOOTTIME` at guest-init's first instruction, in microseconds: the kernel's share.
        init_started_us: u64,
    },
    /// The command was started.
    Started {
        /// `CLOCK_BOOTTIME` at the start of the command, in microseconds.
        command_started_us: u64,
    },
    /// The command ended; nothing is sent on any port after this.
    Exited {
        /// How it ended.
        status: ExitStatus,
        /// Bytes sent on [`crate::ports::STDIO`] in all.
        stdout_bytes: u64,
        /// Bytes sent on [`crate::ports::STDERR`] in all.
        stderr_bytes: u64,
    },
    /// The command could not be started; nothing is sent on any port after this.
    Failed {
        /// What kind of failure, for the exit code.
        kind: FailureKind,
        /// One line, for people. Comes from the guest: escape before printing.
        message: String,
    },
}

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// It returned this code.
    Code(u8),
    /// It was killed by this signal.
    Signal(u8),
}

/// Why the command was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// The program does not exist (exit code 127).
    NotFound,
    /// The program exists but cannot be executed (exit code 126).
    NotExecutable,
    /// The guest could not be set up (exit code 125).
    Setup,
}

/// One of the command's output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutputStream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What is wrong with a peer's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The length says more than [`MAX_FRAME`].
    #[error("Control frame of {0} bytes, more than {MAX_FRAME}")]
    TooLong(usize),
    /// The bytes are not a message.
    #[error("Control frame is not a message")]
    Malformed,
}

/// Encodes `message` as a frame.
///
/// # Errors
/// [`ProtocolError::TooLong`] if the message does not fit a frame.
pub fn encode<M: Serialize>(message: &M) -> Result<Vec<u8>, ProtocolError> {
    let body = postcard::to_allocvec(message).map_err(|_| ProtocolError::Malformed)?;
    let length = u16::try_from(body.len())
        .ok()
        .filter(|&length| usize::from(length) <= MAX_FRAME)
        .ok_or(ProtocolError::TooLong(body.len()))?;
    let mut frame = length.to_le_bytes().to_vec();
    frame.extend_from_slice(&body);
    Ok(frame)
}

/// A [`GuestMessage::Failed`] whose message is cut to [`MAX_MESSAGE`] bytes.
#[must_use]
pub fn failed(kind: FailureKind, mut message: String) -> GuestMessage {
    if message.len() > MAX_MESSAGE {
        let end = (0..=MAX_MESSAGE)
            .rev()
            .find(|&end| message.is_char_boundary(end));
        message.truncate(end.unwrap_or(0));
    }
    GuestMessage::Failed { kind, message }
}

/// Puts frames together from bytes as they arrive. Holds at most one frame and one read.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
}

impl FrameReader {
    /// Adds bytes as they came from the port.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes the next whole message; `None` if more bytes are needed.
    ///
    /// Call until `None` after each [`push`](Self::push): that keeps the buffer below one frame.
    ///
    /// # Errors
    /// If the peer broke the protocol. The stream is of no use after that.
    pub fn next_message<M: DeserializeOwned>(&mut self) -> Result<Option<M>, ProtocolError> {
        let Some((length, rest)) = self.buffer.split_first_chunk::<2>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_le_bytes(*length));
        if length > MAX_FRAME {
            return Err(ProtocolError::TooLong(length));
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let message = match postcard::take_from_bytes(body) {
            Ok((message, [])) => message,
            _ => return Err(ProtocolError::Malformed),
        };
        self.buffer.drain(..2 + length);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_arrive_whole_however_they_are_cut() {
        let messages = [
            GuestMessage::Ready { init_started_us: 1 },
            failed(FailureKind::NotFound, "é".repeat(MAX_MESSAGE)),
            GuestMessage::Exited {
                status: ExitStatus::Signal(9),
                stdout_bytes: u64::MAX,
                stderr_bytes: 0,
            },
        ];
        let bytes: Vec<u8> = messages.iter().flat_map(|m| encode(m).unwrap()).collect();
        for size in [1, 2, 3, 7, bytes.len()] {
            let mut reader = FrameReader::default();
            let mut seen = Vec::new();
            for chunk in bytes.chunks(size) {
                reader.push(chunk);
                while let Some(message) = reader.next_message::<GuestMessage>().unwrap() {
                    seen.push(message);
                }
            }
            assert_eq!(seen, messages);
        }
    }

    #[test]
    fn refuses_long_frames_before_they_arrive() {
        let mut reader = FrameReader::default();
        reader.push(&[0xff, 0xff]);
        assert_eq!(
            reader.next_message::<GuestMessage>(),
            Err(ProtocolError::TooLong(0xffff))
        );
    }

    #[test]
    fn refuses_bytes_after_a_message_and_unknown_messages() {
        for frame in [&[3, 0, 1, 1, 1][..], &[1, 0, 200], &[0, 0]] {
            let mut reader = FrameReader::default();
            reader.push(frame);
            assert_eq!(
                reader.next_message::<HostMessage>(),
                Err(ProtocolError::Malformed),
                "{frame:?}"
            );
        }
    }
}
