//! Secrets that a command is given, and passwords that it makes up.

use std::io::Read as _;
use std::path::Path;

use rand::Rng as _;

use crate::cli::failure::CliError;

/// Longest secret that is read.
const SECRET_BYTES_MAX: u64 = 4096;
/// Length of a password that is made up: some 95 bits.
const PASSWORD_CHARS: usize = 16;
/// Letters and digits that nobody takes for one another.
const ALPHABET: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// The first line of a file, or of standard input for `-`.
pub(in crate::cli) fn read(path: &Path) -> Result<String, CliError> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin()
            .take(SECRET_BYTES_MAX)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(SECRET_BYTES_MAX).read_to_string(&mut text))
    };
    read.map_err(|error| CliError::failed(format!("read {}: {error}", path.display())))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(CliError::usage(format!("{} is empty", path.display()))),
    }
}

/// A password, read or made up; says whether it was made up.
pub(in crate::cli) fn password(file: Option<&Path>) -> Result<(String, bool), CliError> {
    match file {
        Some(file) => Ok((read(file)?, false)),
        None => Ok((made_up(), true)),
    }
}

fn made_up() -> String {
    let mut random = rand::rng();
    loop {
        let password: String = (0..PASSWORD_CHARS)
            .map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())]))
            .collect();
        let digits = password.chars().any(|c| c.is_ascii_digit());
        if digits && password.chars().any(|c| c.is_ascii_alphabetic()) {
            return password;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_that_are_made_up_may_be_set() {
        for _ in 0..100 {
            let password = made_up();
            assert_eq!(password.len(), PASSWORD_CHARS);
            assert!(password.bytes().any(|byte| byte.is_ascii_digit()));
        }
    }

    #[test]
    fn secrets_are_the_first_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "hush\nnot this\n").unwrap();
        assert_eq!(read(&path).unwrap(), "hush");
        std::fs::write(&path, "\n").unwrap();
        assert!(read(&path).is_err());
        assert!(read(&folder.path().join("absent")).is_err());
    }
}
