//! Ports for programs that tests start.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where the range begins and how long it is: above what services are known by, below 32768, from where on the system
/// takes ports for outgoing connections. One of those could be gone again before the program binds it.
const RANGE: (u32, u32) = (10_240, 20_000);

/// A port of the loopback that nobody has now. No two calls of a process get the same.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let offset = std::process::id() * 64 + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = (RANGE.0 + offset % RANGE.1) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
