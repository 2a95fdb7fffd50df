//! The typed face: what goes in comes out.

use bson::{Bson, Document, doc};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use yunbase_client::filter::{all, eq, gte, id};
use yunbase_client::testing::fake::Fake;
use yunbase_client::{Client, Collection, ErrorKind, Index, update};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct City {
    #[serde(rename = "_id", skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    name: String,
    population: i32,
}

fn city(id: &str, population: i32) -> City {
    City {
        id: Some(id.into()),
        name: format!("city {id}"),
        population,
    }
}

async fn cities(fake: &Fake) -> (Client, Collection<City>) {
    let client = fake.builder().connect().await.unwrap();
    client.create_collection("cities").await.unwrap();
    let cities = client.collection("cities");
    (client, cities)
}

#[tokio::test]
async fn documents_are_inserted_read_changed_and_removed() {
    let fake = Fake::start(1).await;
    let (client, cities) = cities(&fake).await;
    assert_eq!(
        cities.insert_one(&city("a", 1)).await.unwrap(),
        Bson::from("a")
    );
    let made = cities
        .insert_one(&City {
            id: None,
            ..city("b", 2)
        })
        .await
        .unwrap();
    assert!(made.as_str().is_some_and(|id| id.starts_with("made-")));
    assert_eq!(cities.get("a").await.unwrap(), Some(city("a", 1)));
    assert_eq!(cities.get("missing").await.unwrap(), None);
    assert_eq!(
        cities
            .find_one(eq("population", 2))
            .await
            .unwrap()
            .unwrap()
            .name,
        "city b"
    );

    let updated = cities
        .update_one(id("a"), update::set("name", "A").inc("population", 9))
        .await
        .unwrap();
    assert_eq!((updated.matched, updated.modified), (1, 1));
    let returned = cities
        .find_one_and_update(id("a"), update::inc("population", 1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((returned.name.as_str(), returned.population), ("A", 11));
    assert_eq!(
        cities
            .update_many(all(), update::set("population", 5))
            .await
            .unwrap()
            .modified,
        2
    );
    assert_eq!(
        cities
            .replace_one(id("a"), &city("a", 77))
            .await
            .unwrap()
            .modified,
        1
    );
    assert_eq!(
        cities.put("c", &city("c", 3)).await.unwrap().upserted_id,
        Some(Bson::from("c"))
    );
    let upserted = cities
        .upsert(id("d"), update::set("name", "D").set("population", 4))
        .await
        .unwrap();
    assert_eq!(upserted.upserted_id, Some(Bson::from("d")));

    assert_eq!(cities.count(all()).await.unwrap(), 4);
    assert_eq!(cities.count(gte("population", 5)).await.unwrap(), 2);
    assert_eq!(cities.delete_one(id("a")).await.unwrap(), 1);
    assert_eq!(cities.delete_many(doc! {}).await.unwrap(), 3);
    client.drop_collection("cities").await.unwrap();
    assert!(client.list_collections().await.unwrap().is_empty());
}

#[tokio::test]
async fn long_results_come_in_pages_and_keep_order_skip_and_limit() {
    let fake = Fake::start(1).await;
    let (_, cities) = cities(&fake).await;
    let many: Vec<City> = (0..450).map(|n| city(&format!("{n:04}"), n)).collect();
    cities.insert_many(&many).await.unwrap();
    assert_eq!(cities.find(all()).all().await.unwrap(), many);
    assert_eq!(
        cities
            .find(all())
            .page_documents(7)
            .skip(3)
            .limit(200)
            .all()
            .await
            .unwrap(),
        many[3..203]
    );
    assert_eq!(cities.find(all()).limit(0).all().await.unwrap(), []);
    let descending = cities
        .find(all())
        .sort_by_descending("population")
        .page_documents(60)
        .limit(130)
        .all()
        .await;
    assert_eq!(
        descending.unwrap(),
        many.iter().rev().take(130).cloned().collect::<Vec<_>>()
    );

    let page = cities
        .find(gte("population", 10))
        .page_documents(5)
        .page()
        .await
        .unwrap();
    assert_eq!(page.documents, many[10..15]);
    let next = cities
        .find(gte("population", 10))
        .page_documents(5)
        .after(page.next)
        .page()
        .await
        .unwrap();
    assert_eq!(next.documents, many[15..20]);

    let mut stream = std::pin::pin!(cities.find(all()).typed::<Document>().stream());
    let mut count = 0;
    while let Some(document) = stream.next().await {
        document.unwrap();
        count += 1;
    }
    assert_eq!(count, 450);
}

#[tokio::test]
async fn refusals_carry_code_message_and_request_id() {
    let fake = Fake::start(1).await;
    let (client, cities) = cities(&fake).await;
    cities.insert_one(&city("a", 1)).await.unwrap();
    let error = cities.insert_one(&city("a", 1)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Refused, "DATABASE_DUPLICATE_WRITE")
    );
    assert!(!error.is_unknown() && !error.request_id().is_empty());
    let error = client
        .collection::<City>("nowhere")
        .count(all())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "DATABASE_COLLECTION_NOT_EXIST");
    let error = cities
        .find(all())
        .typed::<Vec<u8>>()
        .all()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
}

#[tokio::test]
async fn catalogue_and_plans_are_described() {
    let fake = Fake::start(1).await;
    let (client, cities) = cities(&fake).await;
    cities
        .create_index(&Index::ascending("name").unique())
        .await
        .unwrap();
    assert_eq!(
        cities.list_indexes().await.unwrap()[0]
            .get_str("name")
            .unwrap(),
        "name_1"
    );
    cities.drop_index("name_1").await.unwrap();
    assert_eq!(
        client.list_collections().await.unwrap()[0]
            .get_str("name")
            .unwrap(),
        "cities"
    );
    assert_eq!(
        cities.find(all()).explain().await.unwrap(),
        doc! {"plan": "scan"}
    );
}

#[tokio::test]
async fn wrong_credentials_are_an_authentication_error() {
    let fake = Fake::start(2).await;
    let error = fake
        .builder()
        .credentials("AKIDfake", "wrong")
        .connect()
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.is_unknown()),
        (ErrorKind::Unauthenticated, false)
    );
}

#[tokio::test]
async fn pipelines_are_sent_stage_by_stage() {
    let fake = Fake::start(1).await;
    let (_, cities) = cities(&fake).await;
    let many = [city("a", 5), city("b", 7), city("c", 7)];
    cities.insert_many(&many).await.unwrap();
    let pipeline = cities.aggregate([doc! { "$match": { "population": 7 } }]);
    assert_eq!(pipeline.all().await.unwrap(), many[1..]);
    let limited = pipeline.stage(doc! { "$limit": 1 }).typed::<Document>();
    assert_eq!(limited.all().await.unwrap().len(), 1);
    let refused = limited.stage(doc! { "$what": 1 }).all().await.unwrap_err();
    assert_eq!(refused.code(), "DATABASE_INVALID_OPERRATOR");
    assert!(cities.aggregate([]).explain().await.is_ok());
}
