//! Where unguessable values come from: a seam, so that tests can say what is drawn.

use rand::RngCore;

/// Draws random bytes fit for secrets.
pub trait Random: Send + Sync + 'static {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// The generator of this process, seeded by the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        rand::rng().fill_bytes(bytes);
    }
}

/// `N` random bytes.
pub(crate) fn bytes<const N: usize>(random: &dyn Random) -> [u8; N] {
    let mut bytes = [0_u8; N];
    random.fill(&mut bytes);
    bytes
}

/// `N` random bytes in hex.
pub(super) fn hex<const N: usize>(random: &dyn Random) -> String {
    hex::encode(bytes::<N>(random))
}
