//! The fronts' OpenAPI documents, tried by Schemathesis: every request that a document allows is taken, every other is refused, and
//! every answer is as the document says. Workers and broker are real.

use std::{fs, path::Path, time::Duration};

use futures::future::try_join_all;
use penstock_crds::worker::{Producing, TokenCheck, WorkerConfig, WorkerSource};
use penstock_kafka::{ConnectionSettings, NewTopic};
use penstock_tests::{
    issuer::{AUDIENCE, ISSUER, Issuer, in_seconds},
    local::{Brokers, Folder, Schemathesis, get, ports},
    scene::{LIMIT, Result, Waiting, until},
};
use penstock_workers::{error::WorkerError, processors, runtime};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{front::front, shared, topic::make};

/// A front is tried for some seconds on two cores.
const SLOW: Duration = Duration::from_secs(300);

const SINK: &str = "openapi.sink";
const KEYS: &str = "openapi.keys";
/// References, names that are keywords, numbers, a pattern, and nothing else but what is named.
const SCHEMA: &str = r##"{
    "$defs": {"name": {"type": "string", "minLength": 1, "pattern": "^[a-z]+$"}},
    "type": "object", "required": ["name", "amount"], "additionalProperties": false,
    "properties": {
        "name": {"$ref": "#/$defs/name"},
        "amount": {"type": "number", "minimum": 0, "maximum": 1000},
        "default": {"$ref": "#/$defs/name"},
        "enum": {"type": "array", "maxItems": 3, "items": {"$ref": "#/$defs/name"}},
        "within": {"$ref": "#"}
    }
}"##;
/// The same in an older draft.
const DRAFT_7: &str = r##"{
    "$schema": "http://json-schema.org/draft-07/schema#",
    "definitions": {"kind": {"enum": ["a", "b"]}},
    "type": "object", "required": ["user_id", "kind"],
    "properties": {"user_id": {"type": "string", "maxLength": 20}, "kind": {"$ref": "#/definitions/kind"}}
}"##;
/// What no schema in a document says: so an event that the document allows may be refused.
const ATTRIBUTES: &str = r#"{"required": ["subject"], "properties": {"type": {"pattern": "^order[.]"}}}"#;
const BARE: [(&str, &str); 2] = [("defaultType", "order.placed"), ("defaultSource", "/orders")];

struct Front {
    name: &'static str,
    builtin: &'static str,
    options: &'static [(&'static str, &'static str)],
    /// What it follows.
    table: &'static [&'static str],
    /// Whether it asks for tokens.
    guarded: bool,
    /// The checks that are not made.
    unchecked: &'static [&'static str],
}

/// What a front is but for what it says.
const PLAIN: Front = Front { name: "", builtin: "events-gateway", options: &[], table: &[], guarded: false, unchecked: &[] };

static FRONTS: [Front; 6] = [
    Front { name: "orders", builtin: "orders-gateway", table: &[SINK], ..PLAIN },
    Front {
        name: "events without a schema, with keys",
        options: &[("acceptedStatus", "204"), ("path", "/v1/in")],
        table: &[KEYS],
        ..PLAIN
    },
    Front { name: "events and JSON with a schema", options: &[("schema", SCHEMA), ("key", "subject"), BARE[0], BARE[1]], ..PLAIN },
    Front {
        name: "JSON with a key and an older schema",
        options: &[("schema", DRAFT_7), ("dataKey", "/user_id"), ("acceptedStatus", "200"), BARE[0], BARE[1]],
        ..PLAIN
    },
    Front { name: "orders with tokens", builtin: "orders-gateway", table: &[SINK], guarded: true, ..PLAIN },
    Front {
        name: "events with a schema of their attributes",
        options: &[("attributeSchema", ATTRIBUTES), ("failureStatus", "500")],
        unchecked: &["positive_data_acceptance"],
        ..PLAIN
    },
];

impl Front {
    fn start(
        &self,
        brokers: &Brokers,
        port: u16,
        jwks: &Path,
    ) -> Result<(CancellationToken, JoinHandle<std::result::Result<(), WorkerError>>)> {
        let check = TokenCheck {
            issuer: ISSUER.into(),
            audience: AUDIENCE.into(),
            leeway: Duration::from_secs(30),
            jwks: jwks.display().to_string(),
        };
        let config = WorkerConfig {
            source: WorkerSource::Http { port, auth: self.guarded.then_some(check) },
            table: self.table.iter().map(|topic| (*topic).to_owned()).collect(),
            producer: Producing { linger: Duration::ZERO, ..Producing::default() },
            ..front(brokers, self.builtin, self.options, port, SINK)
        };
        let (processor, shutdown) = (processors::build(&config)?, CancellationToken::new());
        Ok((shutdown.clone(), tokio::spawn(runtime::run_until(config, processor, format!("front-{port}"), shutdown))))
    }

    /// How many requests were sent, none of which was answered otherwise than the document says.
    async fn try_out(&self, brokers: &Brokers, tool: &Schemathesis, folder: &Folder) -> Result<u64> {
        let (port, issuer) = (ports::free(1)?[0], Issuer::new("1")?);
        let jwks = folder.path().join(format!("{port}-jwks.json"));
        fs::write(&jwks, issuer.set())?;
        let (shutdown, worker) = self.start(brokers, port, &jwks)?;
        until("the front is healthy", LIMIT, async || match get(port, "/health").await {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(Waiting::NotYet(format!("{other:?}"))),
        })
        .await?;
        // Good for longer than it is tried.
        let token = issuer.token_with(json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "tester", "exp": in_seconds(3_600)}));
        let header = format!("Authorization: Bearer {token}");
        let mut arguments = vec!["--max-examples", "10"];
        if self.guarded {
            arguments.extend(["--header", &header]);
        }
        arguments.extend(self.unchecked.iter().flat_map(|check| ["--exclude-checks", *check]));
        let found = tool.run(port, folder.path(), &arguments, SLOW).await?;
        shutdown.cancel();
        worker.await??;
        match found.faults {
            None => Ok(found.cases),
            Some(faults) => Err(format!("{}: {faults}", self.name).into()),
        }
    }
}

#[tokio::test]
async fn schemathesis_finds_no_fault_with_any_front() -> Result {
    let (tool, folder) = (Schemathesis::ensure().await?, Folder::new("openapi")?);
    let brokers = shared::broker().await?;
    let topics = [SINK, KEYS].map(|name| NewTopic::new(name).with_partitions(3));
    make(&ConnectionSettings::new(brokers.bootstrap())?, &topics).await?;
    let tried = try_join_all(FRONTS.iter().map(|front| front.try_out(&brokers, &tool, &folder))).await?;
    for (front, cases) in FRONTS.iter().zip(&tried) {
        println!("{}: {cases} cases, 0 faults", front.name);
        assert!(*cases > 50, "{}: only {cases} cases", front.name);
    }
    println!("{} cases on {} fronts, 0 faults", tried.iter().sum::<u64>(), FRONTS.len());
    Ok(())
}
