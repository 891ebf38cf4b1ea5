//! A front that asks for tokens, as a real worker process with a real broker: who shows a good one is let in and named in the access
//! log, nobody else is, and the keys change under it as the kubelet changes a mounted ConfigMap.

use std::{fs, os::unix::fs::symlink, path::Path, time::Duration};

use penstock_crds::worker::{TokenCheck, WorkerConfig, WorkerSource};
use penstock_kafka::{ConnectionSettings, NewTopic};
use penstock_tests::{
    issuer::{AUDIENCE, ISSUER, Issuer, in_seconds},
    local::{Folder, WorkerOptions, WorkerProcess, get, ports, post, worker_binary},
    scene::{LIMIT, Result, Waiting, until},
};
use serde_json::json;

use crate::{
    front::front,
    shared,
    topic::{make, read},
};

const EVENTS: &str = "guarded.events";
const JSON: (&str, &str) = ("content-type", "application/json");

/// As the kubelet does it: the file is a link into a folder that is a link itself, and that one is exchanged.
fn mount(folder: &Path, time: &str, text: &str) -> Result {
    fs::create_dir(folder.join(time))?;
    fs::write(folder.join(time).join("jwks.json"), text)?;
    symlink(time, folder.join("..next"))?;
    fs::rename(folder.join("..next"), folder.join("..data"))?;
    if !folder.join("jwks.json").exists() {
        symlink("..data/jwks.json", folder.join("jwks.json"))?;
    }
    Ok(())
}

struct Front {
    port: u16,
    worker: WorkerProcess,
}

impl Front {
    async fn post(&self, headers: &[(&str, &str)]) -> Result<u16> {
        let headers = [&[JSON][..], headers].concat();
        Ok(post(self.port, "/events", &headers, "{\"n\": 1}").await?.status)
    }

    async fn bear(&self, token: &str) -> Result<u16> {
        self.post(&[("authorization", &format!("Bearer {token}"))]).await
    }

    async fn answers(&self, token: &str, status: u16) -> Result {
        until(&format!("{status} for a token"), LIMIT, async || match self.bear(token).await? {
            found if found == status => Ok(()),
            found => Err(Waiting::NotYet(found.to_string())),
        })
        .await
    }

    async fn failures(&self) -> Result<f64> {
        let metrics = self.worker.get("/metrics").await?.body;
        let line = metrics.lines().find_map(|line| line.strip_prefix("penstock_worker_http_jwks_loads_total{result=\"Failed\"} "));
        Ok(line.map(str::parse).transpose()?.unwrap_or_default())
    }
}

#[tokio::test]
async fn who_shows_a_good_token_is_let_in_and_nobody_else() -> Result {
    let brokers = shared::broker().await?;
    let connection = ConnectionSettings::new(brokers.bootstrap())?;
    make(&connection, &[NewTopic::new(EVENTS).with_partitions(1)]).await?;
    let (folder, first, second) = (Folder::new("keys")?, Issuer::new("1")?, Issuer::new("2")?);
    mount(folder.path(), "..1", &first.set())?;
    let [port, admin_port] = ports::free(2)?[..] else { return Err("no ports".into()) };
    let jwks = folder.path().join("jwks.json").display().to_string();
    let check = TokenCheck { issuer: ISSUER.into(), audience: AUDIENCE.into(), leeway: Duration::from_secs(30), jwks };
    let options = [("defaultType", "t"), ("defaultSource", "/local")];
    let front = front(&brokers, "events-gateway", &options, port, EVENTS);
    let config = WorkerConfig { source: WorkerSource::Http { port, auth: Some(check) }, admin_port, ..front };
    let worker = WorkerProcess::start(&config, &WorkerOptions::new(&worker_binary().await?))?;
    worker.wait_ready(LIMIT).await?;
    let front = Front { port, worker };

    let good = first.token("alice");
    assert_eq!(front.bear(&good).await?, 202);
    let claims = |aud: serde_json::Value, exp: i64| json!({"iss": ISSUER, "aud": aud, "sub": "mallory", "exp": in_seconds(exp)});
    assert_eq!(front.bear(&first.token_with(claims(json!(["x", AUDIENCE]), 60))).await?, 202);
    for (what, token) in [
        ("expired", first.token_with(claims(json!(AUDIENCE), -60))),
        ("another audience", first.token_with(claims(json!("x"), 60))),
        ("another key", second.token("mallory")),
        ("nothing", "a.b.c".to_owned()),
    ] {
        assert_eq!(front.bear(&token).await?, 401, "{what}");
    }
    let bearer = format!("Bearer {good}");
    let header = ("authorization", bearer.as_str());
    assert_eq!((front.post(&[]).await?, front.post(&[header, header]).await?), (401, 400));
    assert_eq!(post(port, &format!("/events?access_token={good}"), &[JSON], "{}").await?.status, 401);
    for answer in [get(port, "/health").await?, front.worker.get("/healthz").await?, front.worker.get("/readyz").await?] {
        assert_eq!(answer.status, 200, "health asks nobody: {answer:?}");
    }
    assert_eq!(read(&connection, EVENTS).await?.len(), 2, "nothing of a stranger is written");

    // Both keys, then the other alone, then a broken file, then none.
    mount(folder.path(), "..2", &json!({"keys": [first.public_key(), second.public_key()]}).to_string())?;
    front.answers(&second.token("bob"), 202).await?;
    assert_eq!(front.bear(&first.token("alice")).await?, 202);
    mount(folder.path(), "..3", &second.set())?;
    front.answers(&first.token("alice"), 401).await?;
    let before = front.failures().await?;
    mount(folder.path(), "..4", "{\"keys\": [{}")?;
    until("the broken file is told", LIMIT, async || match front.failures().await? {
        failures if failures > before => Ok(()),
        _ => Err(Waiting::from("nothing is told")),
    })
    .await?;
    assert_eq!((front.bear(&second.token("bob")).await?, front.bear(&first.token("alice")).await?), (202, 401));
    mount(folder.path(), "..5", "{\"keys\": []}")?;
    front.answers(&second.token("bob"), 401).await?;

    let log = fs::read_to_string(front.worker.process().log())?;
    assert!(log.contains("\"subject\":\"alice\""), "{log}");
    assert!(log.contains("the file of the keys cannot be used"), "{log}");
    let signature = good.rsplit('.').next().unwrap_or_default();
    assert!(!log.contains(signature), "a token is in the log");
    Ok(())
}
