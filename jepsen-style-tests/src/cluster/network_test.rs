//! The switch between real namespaces: what the kernels at both ends see of each effect. Needs root; says so without.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::namespace::{Namespace, address};
use super::options::Mode;
use super::switch::{Effect, Switch};

const PORT: u16 = 9000;
const QUIET: Duration = Duration::from_millis(300);

/// Hosts 1 and 2 with a socket each.
struct Pair {
    switch: Switch,
    one: UdpSocket,
    two: UdpSocket,
}

fn at(host: u8) -> SocketAddr {
    SocketAddr::from((address(host), PORT))
}

fn pair() -> Option<Pair> {
    if Mode::best() != Mode::Namespaces {
        eprintln!("not available here: network namespaces need root");
        return None;
    }
    let switch = Switch::start(1).expect("switch");
    let plug = |host: u8| {
        let namespace = Namespace::create().expect("namespace");
        switch.plug(usize::from(host), namespace.connect(host).expect("device"));
        // The socket keeps the namespace alive.
        namespace
            .run(|| {
                let socket = UdpSocket::bind(at(host))?;
                socket.set_read_timeout(Some(QUIET))?;
                Ok(socket)
            })
            .expect("socket")
    };
    let (one, two) = (plug(1), plug(2));
    Some(Pair { switch, one, two })
}

impl Pair {
    /// Sends numbered datagrams from host 1; returns the numbers that arrive at host 2, in order.
    fn send(&self, count: u32) -> Vec<u32> {
        let mut received = Vec::new();
        let mut buffer = [0; 64];
        for number in 0..count {
            self.one
                .send_to(&number.to_be_bytes(), at(2))
                .expect("send");
            // A pace that no buffer on the way is too small for.
            std::thread::sleep(Duration::from_micros(200));
        }
        while let Ok(length) = self.two.recv(&mut buffer) {
            let number: [u8; 4] = buffer[..length].try_into().expect("4 bytes");
            received.push(u32::from_be_bytes(number));
        }
        received
    }

    fn under(&self, effect: Effect, count: u32) -> Vec<u32> {
        let id = self.switch.links().add(vec![((1, 2), effect)]);
        let received = self.send(count);
        self.switch.links().remove(id);
        received
    }
}

#[test]
fn kernels_see_each_effect_and_nothing_when_it_is_gone() {
    let Some(pair) = pair() else { return };
    let none = Effect::default();
    assert_eq!(pair.send(100), (0..100).collect::<Vec<_>>());

    let cut = Effect { cut: true, ..none };
    assert!(pair.under(cut, 50).is_empty());
    assert!(pair.switch.links().counters([(1, 2)]).cut >= 50);

    let loss = Effect { loss: 0.3, ..none };
    let received = pair.under(loss, 300).len();
    assert!((150..270).contains(&received), "{received}");

    let twice = Effect {
        duplication: 0.5,
        ..none
    };
    assert!(pair.under(twice, 100).len() > 120);

    let reordering = Effect {
        reordering: 0.3,
        ..none
    };
    let received = pair.under(reordering, 100);
    assert_eq!(received.len(), 100);
    assert!(!received.is_sorted());

    assert_eq!(pair.send(100), (0..100).collect::<Vec<_>>());
}

#[test]
fn one_way_cuts_leave_the_other_way_open() {
    let Some(pair) = pair() else { return };
    let cut = Effect {
        cut: true,
        ..Effect::default()
    };
    pair.switch.links().add(vec![((1, 2), cut)]);
    assert!(pair.send(10).is_empty());
    pair.two.send_to(b"back", at(1)).expect("send");
    let mut buffer = [0; 64];
    assert_eq!(pair.one.recv(&mut buffer).expect("arrives"), 4);
}

#[test]
fn a_delay_is_what_a_round_trip_takes() -> io::Result<()> {
    let Some(pair) = pair() else { return Ok(()) };
    let delay = Effect {
        delay: Duration::from_millis(60),
        ..Effect::default()
    };
    pair.switch.links().add(vec![((1, 2), delay)]);
    let began = Instant::now();
    pair.one.send_to(b"ping", at(2))?;
    pair.two.recv(&mut [0; 64])?;
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(60), "{took:?}");
    assert!(took < Duration::from_millis(260), "{took:?}");
    Ok(())
}
