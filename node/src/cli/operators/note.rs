//! Notes for the audit log of what a command does by many requests.

pub(in crate::cli) use yunbase_client::proto::note_movement_request::Movement;

use yunbase_client::auth::Credentials;
use yunbase_client::proto::NoteMovementRequest;

use super::connection::Connection;
use crate::cli::environment::Environment;

/// Tells the cluster that documents of `collection` begin to move (`None`), or how many have. Only said on standard error
/// when that fails: the movement itself is what was asked for.
pub(in crate::cli) async fn note(
    target: &Environment,
    movement: Movement,
    collection: &str,
    documents: Option<u64>,
) {
    let Some(credentials) = target.credentials() else {
        return;
    };
    // What an operator deletes, the cluster notes by itself.
    if movement == Movement::Delete && !matches!(credentials, Credentials::SecretKey { .. }) {
        return;
    }
    let request = NoteMovementRequest {
        env: target.env.clone(),
        collection: collection.to_owned(),
        movement: movement.into(),
        documents: documents.unwrap_or(0),
        begins: documents.is_none(),
    };
    let noted = async {
        let endpoints = target.endpoints();
        let mut connection =
            Connection::to(endpoints, target.deadline(), Some(credentials)).await?;
        connection.note_movement(request).await
    };
    if let Err(error) = noted.await {
        eprintln!("warning: not written to the audit log: {error}");
    }
}
