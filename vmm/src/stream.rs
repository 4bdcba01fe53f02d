//! Moving bytes between a socket and guest memory, without copies and without blocking.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use vm_memory::VolatileSlice;

/// Pieces that one call moves; the rest is for the next one.
const MAX_PIECES: usize = 64;

/// Sends bytes of guest memory. Returns how many were sent.
///
/// # Errors
/// As `sendmsg(2)`; [`io::ErrorKind::WouldBlock`] if the socket is full. Never raises `SIGPIPE`.
pub(crate) fn send(stream: &UnixStream, pieces: &[VolatileSlice<'_>]) -> io::Result<usize> {
    let mut vectors = vectors(pieces);
    let message = message(&mut vectors);
    // SAFETY: the vectors describe guest memory, mapped as long as the slices live. The guest may
    // change it meanwhile, which only changes what is sent.
    let result = unsafe {
        libc::sendmsg(
            stream.as_raw_fd(),
            &raw const message,
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Receives bytes into guest memory. Returns how many came; 0 at the end of the stream.
///
/// # Errors
/// As `recvmsg(2)`; [`io::ErrorKind::WouldBlock`] if nothing is there.
pub(crate) fn receive(stream: &UnixStream, pieces: &[VolatileSlice<'_>]) -> io::Result<usize> {
    let mut vectors = vectors(pieces);
    let mut message = message(&mut vectors);
    // SAFETY: the vectors describe guest memory, mapped as long as the slices live; it is only ever
    // accessed as volatile memory, so that the kernel may change it. No control data is asked for.
    let result = unsafe { libc::recvmsg(stream.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn vectors(pieces: &[VolatileSlice<'_>]) -> Vec<libc::iovec> {
    pieces
        .iter()
        .take(MAX_PIECES)
        .map(|piece| libc::iovec {
            iov_base: piece.ptr_guard_mut().as_ptr().cast(),
            iov_len: piece.len(),
        })
        .collect()
}

fn message(vectors: &mut [libc::iovec]) -> libc::msghdr {
    // SAFETY: all zeroes is a valid message without anything in it.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = vectors.as_mut_ptr();
    message.msg_iovlen = vectors.len();
    message
}

#[cfg(test)]
mod tests {
    use vm_memory::VolatileMemory;

    use super::*;

    #[test]
    fn moves_bytes_and_tells_blocking_from_the_end() {
        let (a, b) = UnixStream::pair().unwrap();
        let mut from = *b"hello";
        let mut to = [0; 8];
        let from = VolatileSlice::from(from.as_mut_slice());
        assert_eq!(send(&a, &[from.get_slice(0, 2).unwrap(), from]).unwrap(), 7);
        let to_slice = VolatileSlice::from(to.as_mut_slice());
        assert_eq!(receive(&b, &[to_slice]).unwrap(), 7);
        let error = receive(&b, &[to_slice]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(&to, b"hehello\0");
        drop(a);
        let to_slice = VolatileSlice::from(to.as_mut_slice());
        assert_eq!(receive(&b, &[to_slice]).unwrap(), 0);
        assert!(send(&b, &[from]).is_err());
    }
}
