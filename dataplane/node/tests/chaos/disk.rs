//! A process's disk as its syncs find it: well, slow, or gone.
//!
//! The kernel hands each fsync and fdatasync of the process to a thread here, which lets it go on, later or at once, or has
//! it fail (seccomp's user notification, man seccomp_unotify(2)). Nothing in the process knows of it.
//!
//! Invariant: a sync that is let go on is the process's own; no sync is said to be done that was not.

#![allow(unsafe_code, reason = "system calls that no crate wraps")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// What a sync meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Syncs {
    Work,
    /// Each takes so much longer, and none begins before the one before it has ended.
    Take(Duration),
    /// An error of the device.
    Fail,
}

/// See the file's comment.
pub(crate) struct Disk {
    syncs: Arc<Mutex<Syncs>>,
}

/// A command whose process will have such a disk.
pub(crate) struct Prepared(UnixStream);

impl Disk {
    /// Prepares a command, which is to be spawned before anything else is done with what this returns.
    pub(crate) fn prepare(command: &mut Command) -> Prepared {
        let (ours, theirs) = UnixStream::pair().unwrap();
        // SAFETY: between fork and exec it makes system calls alone, and allocates nothing.
        unsafe { command.pre_exec(move || hand_over(theirs.as_fd())) };
        Prepared(ours)
    }

    /// From now on.
    pub(crate) fn set(&self, syncs: Syncs) {
        *self.syncs.lock().unwrap() = syncs;
    }
}

impl Prepared {
    /// The disk of the process that was spawned. Its syncs wait for this.
    pub(crate) fn disk(self, syncs: Syncs) -> Disk {
        let listener = receive(&self.0);
        let syncs = Arc::new(Mutex::new(syncs));
        let seen = syncs.clone();
        std::thread::spawn(move || while next(&listener, &seen) {});
        Disk { syncs }
    }
}

/// Has the kernel ask about the syncs of this process, and sends who asks to the parent.
fn hand_over(parent: BorrowedFd<'_>) -> io::Result<()> {
    let (load, equal, answer) = (
        (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16,
        (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        (libc::BPF_RET | libc::BPF_K) as u16,
    );
    let one = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    // The number of the call is the first thing that a filter sees.
    let mut filter = [
        one(load, 0, 0, 0),
        one(equal, libc::SYS_fsync as u32, 1, 0),
        one(equal, libc::SYS_fdatasync as u32, 0, 1),
        one(answer, libc::SECCOMP_RET_USER_NOTIF, 0, 0),
        one(answer, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // SAFETY: the program outlives the call, and is as long as it says.
    let listener = unsafe {
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
            return Err(io::Error::last_os_error());
        }
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    };
    if listener < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened it; exec closes it.
    let fds = [unsafe { BorrowedFd::borrow_raw(listener as i32) }];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut message = SendAncillaryBuffer::new(&mut space);
    message.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(parent, &[io::IoSlice::new(&[0])], &mut message, SendFlags::empty())?;
    Ok(())
}

fn receive(child: &UnixStream) -> OwnedFd {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut message = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut into = [io::IoSliceMut::new(&mut byte)];
    recvmsg(child, &mut into, &mut message, RecvFlags::CMSG_CLOEXEC).unwrap();
    let rights = message.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    rights.unwrap()
}

/// Answers the next sync; `false` once the process is gone.
fn next(listener: &OwnedFd, syncs: &Mutex<Syncs>) -> bool {
    let mut ready = [PollFd::new(listener, PollFlags::IN)];
    if poll(&mut ready, None).is_ok() && ready[0].revents().contains(PollFlags::HUP) {
        return false;
    }
    // SAFETY: numbers alone, for which zero is a value; the kernel wants that one.
    let mut asked: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    let at = listener.as_raw_fd();
    // SAFETY: it is as large as the kernel takes it to be, by the number of the call.
    if unsafe { libc::ioctl(at, libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut asked) } != 0 {
        // Who asked was killed meanwhile.
        return true;
    }
    let (now, began) = (*syncs.lock().unwrap(), Instant::now());
    // Once the disk is well, what hung goes on too.
    while let Syncs::Take(time) = *syncs.lock().unwrap()
        && began.elapsed() < time
    {
        std::thread::sleep(Duration::from_millis(1));
    }
    // SAFETY: as above.
    let mut answer: libc::seccomp_notif_resp = unsafe { std::mem::zeroed() };
    answer.id = asked.id;
    match now {
        Syncs::Fail => answer.error = -libc::EIO,
        Syncs::Work | Syncs::Take(_) => {
            answer.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32
        }
    }
    // Fails where who asked was killed meanwhile.
    // SAFETY: as above.
    unsafe { libc::ioctl(at, libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) };
    true
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    /// Syncs a file, and says how that went.
    fn sync(syncs: Syncs) -> (bool, Duration) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let mut command = Command::new("dd");
        command.args(["if=/dev/zero", "bs=1", "count=1", "conv=fsync"]);
        command.arg(format!("of={}", file.display())).stderr(Stdio::null());
        let prepared = Disk::prepare(&mut command);
        let start = Instant::now();
        let mut child = command.spawn().unwrap();
        prepared.disk(syncs);
        (child.wait().unwrap().success(), start.elapsed())
    }

    #[test]
    fn syncs_work_or_take_long_or_fail() {
        assert!(sync(Syncs::Work).0);
        let (done, time) = sync(Syncs::Take(Duration::from_secs(1)));
        assert!(done && time >= Duration::from_secs(1), "{time:?}");
        assert!(!sync(Syncs::Fail).0);
    }
}
