//! A client on the Matrix Rust SDK that the end-to-end tests drive: one process is one device.
//! Each line of standard input is a command, `{"id": 1, "command": "send", ...}`; each is answered
//! by a line of standard output, `{"id": 1, "result": ...}` or `{"id": 1, "error": "..."}`, when it
//! is done. Lines with `log` are warnings and errors that the library has written.
//! Invariant: everything that a person would see comes from the library, nothing from raw requests.

// The library's futures are nested deeply.
#![recursion_limit = "256"]

mod commands;
mod crypto;
mod error;
mod following;
mod journal;
mod media;
mod messages;
mod pushing;
mod rooms;
mod session;
mod spaces;
mod threads;
mod timelines;
mod verification;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{commands::Command, error::Failure, session::Session};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    journal::install()?;
    let session = Arc::new(Session::default());
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let line: Value = serde_json::from_str(&line)?;
        let session = session.clone();
        tokio::spawn(async move {
            let id = line["id"].clone();
            match run(&session, line).await {
                Ok(result) => println!("{}", json!({ "id": id, "result": result })),
                Err(error) => println!("{}", json!({ "id": id, "error": error.to_string() })),
            }
        });
    }
    Ok(())
}

async fn run(session: &Session, line: Value) -> Result<Value, Failure> {
    Command::deserialize(line)?.run(session).await
}
