//! A replicated map in memory with a file that stands for what a flush made durable. Commands are
//! `key=value`; the reply is the value before. It remembers every command it applied, in order.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use yunbase_consensus::{Command, StateMachine};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    pub values: BTreeMap<String, String>,
    pub applied: Vec<String>,
    progress: Option<Vec<u8>>,
}

pub struct Kv {
    dir: PathBuf,
    content: Mutex<Content>,
    /// Makes each apply take this long.
    pub apply_delay: Mutex<Duration>,
}

impl Kv {
    pub fn open(dir: &Path) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let content = std::fs::read(dir.join("state"))
            .map(|bytes| decode(&bytes))
            .unwrap_or_default();
        Self {
            dir: dir.to_owned(),
            content: Mutex::new(content),
            apply_delay: Mutex::default(),
        }
    }

    pub fn content(&self) -> Content {
        self.content.lock().unwrap().clone()
    }

    pub fn get(&self, key: &str) -> Option<String> {
        self.content.lock().unwrap().values.get(key).cloned()
    }
}

/// Progress in hexadecimal digits on the first line, then one command a line.
fn encode(content: &Content) -> Vec<u8> {
    let progress = content
        .progress
        .as_ref()
        .map_or("-".to_owned(), |progress| {
            progress.iter().map(|byte| format!("{byte:02x}")).collect()
        });
    let mut text = progress;
    for command in &content.applied {
        text.push('\n');
        text.push_str(command);
    }
    text.into_bytes()
}

fn decode(bytes: &[u8]) -> Content {
    let text = std::str::from_utf8(bytes).unwrap();
    let mut lines = text.split('\n');
    let progress = lines.next().unwrap();
    let mut content = Content::default();
    if progress != "-" {
        let digits = progress.as_bytes().chunks(2);
        let bytes =
            digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
        content.progress = Some(bytes.collect());
    }
    for command in lines {
        put(&mut content, command);
    }
    content
}

fn put(content: &mut Content, command: &str) -> String {
    content.applied.push(command.to_owned());
    let (key, value) = command.split_once('=').unwrap_or((command, ""));
    content
        .values
        .insert(key.to_owned(), value.to_owned())
        .unwrap_or_default()
}

impl StateMachine for Kv {
    fn progress(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.content.lock().unwrap().progress.clone())
    }

    fn apply(&self, commands: &[Command], progress: &[u8]) -> io::Result<Vec<Bytes>> {
        let delay = *self.apply_delay.lock().unwrap();
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        let mut content = self.content.lock().unwrap();
        let replies = commands.iter().map(|command| {
            let text = std::str::from_utf8(&command.payload).unwrap();
            Bytes::from(put(&mut content, text))
        });
        let replies = replies.collect();
        content.progress = Some(progress.to_vec());
        Ok(replies)
    }

    fn flush(&self) -> io::Result<()> {
        let bytes = encode(&self.content.lock().unwrap());
        std::fs::write(self.dir.join("state"), bytes)
    }

    fn checkpoint(&self, into: &Path) -> io::Result<()> {
        let bytes = encode(&self.content.lock().unwrap());
        std::fs::write(into.join("state"), bytes)
    }

    fn checkpoint_progress(&self, checkpoint: &Path) -> io::Result<Option<Vec<u8>>> {
        Ok(decode(&std::fs::read(checkpoint.join("state"))?).progress)
    }

    fn restore(&self, from: &Path) -> io::Result<()> {
        let bytes = std::fs::read(from.join("state"))?;
        std::fs::write(self.dir.join("state"), &bytes)?;
        *self.content.lock().unwrap() = decode(&bytes);
        Ok(())
    }
}
