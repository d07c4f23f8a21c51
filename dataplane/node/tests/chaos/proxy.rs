//! A line between two processes that can be cut, held and slowed, each way by itself: a TCP proxy in the test's process.
//!
//! Invariant: once `set` has returned, nothing more is forwarded that the new condition forbids. Bytes are only ever
//! written under the lock that `set` takes.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Bytes forwarded at a time.
const CHUNK: usize = 64 << 10;

/// What happens to what is sent over a line.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Condition {
    /// Connections are dropped, and new ones too.
    pub(crate) cut: bool,
    /// Nothing that the caller sends arrives; what was sent arrives once this is over, as TCP has it.
    pub(crate) hold_requests: bool,
    /// The same for what the called one answers.
    pub(crate) hold_answers: bool,
    /// How much later everything arrives.
    pub(crate) delay: Duration,
}

impl Condition {
    pub(crate) const CUT: Self =
        Self { cut: true, hold_requests: false, hold_answers: false, delay: Duration::ZERO };
    pub(crate) const HELD: Self =
        Self { cut: false, hold_requests: true, hold_answers: true, delay: Duration::ZERO };

    pub(crate) fn slow(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }

    fn holds(&self, way: Way) -> bool {
        match way {
            Way::Requests => self.hold_requests,
            Way::Answers => self.hold_answers,
        }
    }
}

#[derive(Clone, Copy)]
enum Way {
    Requests,
    Answers,
}

/// The line to one process, for one caller.
pub(crate) struct Proxy {
    address: SocketAddr,
    condition: watch::Sender<Condition>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// A line to this address, in good condition.
    pub(crate) async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let condition = watch::Sender::new(Condition::default());
        let seen = condition.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                tokio::spawn(connection(caller, to, seen.subscribe()));
            }
        });
        Self { address, condition, accepting }
    }

    /// Where callers connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn set(&self, condition: Condition) {
        self.condition.send_replace(condition);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.set(Condition::CUT);
    }
}

/// Forwards until either side closes or the line is cut.
async fn connection(caller: TcpStream, to: SocketAddr, condition: watch::Receiver<Condition>) {
    let mut cut = condition.clone();
    let forward = async {
        // Who connects over a line that is held hears nothing; the system has taken the connection all the same.
        wait_until(&mut condition.clone(), |now| !now.hold_requests && !now.hold_answers).await;
        let Ok(called) = TcpStream::connect(to).await else { return };
        let _ = (caller.set_nodelay(true), called.set_nodelay(true));
        let (caller_reads, caller_writes) = caller.into_split();
        let (called_reads, called_writes) = called.into_split();
        tokio::select! {
            () = pump(caller_reads, called_writes, condition.clone(), Way::Requests) => {}
            () = pump(called_reads, caller_writes, condition.clone(), Way::Answers) => {}
        }
    };
    tokio::select! {
        () = forward => {}
        () = wait_until(&mut cut, |now| now.cut) => {}
    }
}

async fn wait_until(
    condition: &mut watch::Receiver<Condition>,
    is: impl FnMut(&Condition) -> bool,
) {
    // The sender is gone with the test.
    let _ = condition.wait_for(is).await;
}

/// One way of a connection, until an end of it is closed.
async fn pump(
    mut from: OwnedReadHalf,
    to: OwnedWriteHalf,
    mut condition: watch::Receiver<Condition>,
    way: Way,
) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        let delay = condition.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let mut left = &buffer[..read];
        while !left.is_empty() {
            wait_until(&mut condition, |now| !now.holds(way)).await;
            if to.writable().await.is_err() {
                return;
            }
            let now = condition.borrow();
            if now.cut {
                return;
            }
            if now.holds(way) {
                continue;
            }
            match to.try_write(left) {
                Ok(written) => left = &left[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Answers each byte with the next.
    async fn server() -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    while let Ok(byte) = stream.read_u8().await {
                        stream.write_u8(byte + 1).await.unwrap();
                    }
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn a_line_forwards_until_it_is_cut_and_takes_no_new_connection_then() {
        let proxy = Proxy::start(server().await).await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_u8(1).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), 2);
        proxy.set(Condition::CUT);
        assert!(stream.read_u8().await.is_err());
        // It may be refused as it connects or at the first byte.
        if let Ok(mut stream) = TcpStream::connect(proxy.address()).await {
            let _ = stream.write_u8(1).await;
            assert!(stream.read_u8().await.is_err());
        }
        proxy.set(Condition::default());
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_u8(7).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), 8);
    }

    /// The answers to what is sent while a line is held in one way come when it is not any more, and not before: a read
    /// with no end in sight is not over when other lines have answered many times.
    #[tokio::test]
    async fn a_line_that_is_held_delivers_later() {
        let to = server().await;
        let (proxy, other) = (Proxy::start(to).await, Proxy::start(to).await);
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_u8(1).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), 2);
        let mut beside = TcpStream::connect(other.address()).await.unwrap();
        for hold_requests in [true, false] {
            proxy.set(Condition {
                hold_requests,
                hold_answers: !hold_requests,
                ..Condition::default()
            });
            stream.write_u8(3).await.unwrap();
            let mut read = Box::pin(stream.read_u8());
            for n in 0..50 {
                beside.write_u8(n).await.unwrap();
                tokio::select! {
                    _ = &mut read => panic!("it was forwarded"),
                    byte = beside.read_u8() => assert_eq!(byte.unwrap(), n + 1),
                }
            }
            proxy.set(Condition::slow(Duration::from_millis(1)));
            assert_eq!(read.await.unwrap(), 4);
        }
    }
}
