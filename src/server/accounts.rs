//! Users and groups of this machine.

use std::{ffi::CString, io, mem::MaybeUninit, ptr};

/// The number of a user, given by name or number. `None` if there is no such user.
pub fn user_id(name: &str) -> io::Result<Option<u32>> {
    find(name, |name, buffer| {
        let (mut entry, mut found) = (MaybeUninit::<libc::passwd>::uninit(), ptr::null_mut());
        // SAFETY: the name ends with a NUL, and the buffer and the entry live until the end of the call's use. The entry is
        // complete if `found` points to it.
        #[allow(unsafe_code)]
        unsafe {
            let size = buffer.len();
            let error =
                libc::getpwnam_r(name.as_ptr(), entry.as_mut_ptr(), buffer.as_mut_ptr().cast(), size, &raw mut found);
            (error, (!found.is_null()).then(|| (*found).pw_uid))
        }
    })
}

/// The number of a group, given by name or number. `None` if there is no such group.
pub fn group_id(name: &str) -> io::Result<Option<u32>> {
    find(name, |name, buffer| {
        let (mut entry, mut found) = (MaybeUninit::<libc::group>::uninit(), ptr::null_mut());
        // SAFETY: as above.
        #[allow(unsafe_code)]
        unsafe {
            let size = buffer.len();
            let error =
                libc::getgrnam_r(name.as_ptr(), entry.as_mut_ptr(), buffer.as_mut_ptr().cast(), size, &raw mut found);
            (error, (!found.is_null()).then(|| (*found).gr_gid))
        }
    })
}

/// Looks a name up with `ask`, which gets a buffer for the strings of an entry and returns an error number and the result.
fn find(name: &str, ask: impl Fn(&CString, &mut [u8]) -> (i32, Option<u32>)) -> io::Result<Option<u32>> {
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        // The largest number stands for no change (chown(2)).
        return Ok(name.parse().ok().filter(|id| *id != u32::MAX));
    }
    let name = CString::new(name)?;
    let mut buffer = vec![0; 4096];
    loop {
        match ask(&name, &mut buffer) {
            // The entry of a group has the names of all members.
            (libc::ERANGE, _) if buffer.len() < MAX_ENTRY => buffer.resize(buffer.len() * 4, 0),
            (0, found) => return Ok(found),
            // Some systems report a missing entry as an error (getpwnam_r(3)).
            (libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM, _) => return Ok(None),
            (error, _) => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}

/// Bytes of the largest entry that is read.
const MAX_ENTRY: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        assert_eq!((user_id("root").unwrap(), group_id("root").unwrap()), (Some(0), Some(0)));
        assert_eq!((user_id("4711").unwrap(), group_id("4712").unwrap()), (Some(4711), Some(4712)));
        for missing in ["no-such-name-here", "-1", "99999999999", ""] {
            let found = (user_id(missing).unwrap(), group_id(missing).unwrap());
            assert_eq!(found, (None, None), "{missing}");
        }
    }
}
