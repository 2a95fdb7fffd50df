//! The two requests to the kernel that have no safe wrapper: making a TAP device, and taking the power from a file
//! system.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// `struct ifreq`, as far as `TUNSETIFF` reads it.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    unused: [u8; 22],
}

const IFF_TAP: u16 = 0x0002;
/// Frames come without a header of the device's own.
const IFF_NO_PI: u16 = 0x1000;
/// `FSOP_GOING_FLAGS_NOLOGFLUSH`: neither data nor the journal reach the disk any more.
const WITHOUT_FLUSH: u32 = 2;

mod raw {
    nix::ioctl_write_int!(tunsetiff, b'T', 202);
    nix::ioctl_read!(shutdown, b'X', 125, u32);
}

/// Turns an open `/dev/net/tun` into the TAP device `name` of the network namespace in which it was opened.
pub(super) fn make_tap(device: &File, name: &str) -> io::Result<()> {
    let mut request = InterfaceRequest {
        name: [0; 16],
        flags: IFF_TAP | IFF_NO_PI,
        unused: [0; 22],
    };
    // The last byte stays zero: the kernel reads a C string.
    for (to, from) in request.name[..15].iter_mut().zip(name.bytes()) {
        *to = from;
    }
    // SAFETY: the descriptor is open, and the kernel reads and writes one `struct ifreq` at this address, which lives
    // until the call returns.
    unsafe { raw::tunsetiff(device.as_raw_fd(), (&raw mut request) as u64) }?;
    Ok(())
}

/// Cuts the file system of `folder` off its disk: what has not been synced is gone, and every access fails from now on.
pub(super) fn shut_down_file_system(folder: &File) -> io::Result<()> {
    let mut flags = WITHOUT_FLUSH;
    // SAFETY: the descriptor is open, and the kernel reads one `u32` at this address.
    unsafe { raw::shutdown(folder.as_raw_fd(), &raw mut flags) }?;
    Ok(())
}
