//! The fronts' OpenAPI documents, tried by Schemathesis: every request that a document allows is taken, every other is refused, and
//! every answer is as the document says. Workers and broker are real.

use std::time::Duration;

use futures::future::try_join_all;
use penstock_crds::worker::{Producing, WorkerConfig};
use penstock_kafka::{ConnectionSettings, NewTopic};
use penstock_tests::{
    local::{Brokers, Folder, Schemathesis, get, ports},
    scene::{LIMIT, Result, Waiting, until},
};
use penstock_workers::{error::WorkerError, processors, runtime};
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
const BARE: [(&str, &str); 2] = [("defaultType", "order.placed"), ("defaultSource", "/orders")];

struct Front {
    name: &'static str,
    builtin: &'static str,
    options: &'static [(&'static str, &'static str)],
    /// What it follows.
    table: &'static [&'static str],
}

static FRONTS: [Front; 4] = [
    Front { name: "orders", builtin: "orders-gateway", options: &[], table: &[SINK] },
    Front {
        name: "events without a schema, with keys",
        builtin: "events-gateway",
        options: &[("acceptedStatus", "204"), ("path", "/v1/in")],
        table: &[KEYS],
    },
    Front {
        name: "events and JSON with a schema",
        builtin: "events-gateway",
        options: &[("schema", SCHEMA), ("key", "subject"), BARE[0], BARE[1]],
        table: &[],
    },
    Front {
        name: "JSON with a key and an older schema",
        builtin: "events-gateway",
        options: &[("schema", DRAFT_7), ("dataKey", "/user_id"), ("acceptedStatus", "200"), BARE[0], BARE[1]],
        table: &[],
    },
];

impl Front {
    fn start(&self, brokers: &Brokers, port: u16) -> Result<(CancellationToken, JoinHandle<std::result::Result<(), WorkerError>>)> {
        let config = WorkerConfig {
            table: self.table.iter().map(|topic| (*topic).to_owned()).collect(),
            producer: Producing { linger: Duration::ZERO, ..Producing::default() },
            ..front(brokers, self.builtin, self.options, port, SINK)
        };
        let (processor, shutdown) = (processors::build(&config)?, CancellationToken::new());
        Ok((shutdown.clone(), tokio::spawn(runtime::run_until(config, processor, format!("front-{port}"), shutdown))))
    }

    /// How many requests were sent, none of which was answered otherwise than the document says.
    async fn try_out(&self, brokers: &Brokers, tool: &Schemathesis, folder: &Folder) -> Result<u64> {
        let port = ports::free(1)?[0];
        let (shutdown, worker) = self.start(brokers, port)?;
        until("the front is healthy", LIMIT, async || match get(port, "/health").await {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(Waiting::NotYet(format!("{other:?}"))),
        })
        .await?;
        let found = tool.run(port, folder.path(), &["--max-examples", "10"], SLOW).await?;
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
