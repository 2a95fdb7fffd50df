//! Nothing a node sends may panic or hang the caller.

use std::time::Duration;

use bson::{Document, doc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use yunbase_client::filter::all;
use yunbase_client::testing::fake::{Fake, Fault};
use yunbase_client::{Client, ErrorKind};

#[tokio::test]
async fn answers_of_the_wrong_kind_are_errors() {
    let fake = Fake::start(1).await;
    let client = fake
        .builder()
        .deadline(Duration::from_secs(2))
        .connect()
        .await
        .unwrap();
    client.create_collection("c").await.unwrap();
    let collection = client.collection::<Document>("c");
    for fault in [Fault::Empty, Fault::Garbage] {
        fake.fault_always(0, fault);
        let write = collection.insert_one(&doc! {"_id": 1}).await.unwrap_err();
        assert_eq!(write.kind(), ErrorKind::Malformed);
        assert!(collection.count(all()).await.is_err());
        assert!(collection.get(1).await.is_err());
        assert!(collection.find(all()).all().await.is_err());
        assert!(collection.list_indexes().await.is_err());
        assert!(client.list_collections().await.is_err());
    }
}

#[tokio::test]
async fn an_endpoint_that_speaks_something_else_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut ignored = [0; 64];
            let _ = socket.read(&mut ignored).await;
            let _ = socket
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n\0\xff\xfe")
                .await;
        }
    });
    let client = Client::builder()
        .endpoint(format!("http://{address}"))
        .env("demo");
    let error = client
        .deadline(Duration::from_millis(200))
        .connect()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}
