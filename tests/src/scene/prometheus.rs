//! A real Prometheus beside the cluster: it scrapes a test's workers through the apiserver, and evaluates the rules of the chart.

mod config;

use std::process::Command;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{LIMIT, Result, Scene, until};
use crate::{
    cluster::prometheus,
    local::{Folder, Process, get, ports},
};

/// How often workers are scraped and rules evaluated.
const INTERVAL: &str = "2s";

/// A server with the rules of the chart.
#[derive(Debug)]
pub struct Prometheus {
    port: u16,
    namespace: String,
    _process: Process,
    _folder: Folder,
}

impl Prometheus {
    /// Starts one that scrapes the workers that a test has now, and waits until it answers.
    ///
    /// # Errors
    /// There is no such program, or it does not start.
    pub async fn start(scene: &Scene) -> Result<Self> {
        let program = prometheus::program()?;
        let folder = Folder::new("prometheus")?;
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("rules.yml"), config::rules(scene).await?.to_string())?;
        std::fs::write(at("prometheus.yml"), config::config(scene, folder.path()).await?.to_string())?;
        let port = ports::free(1)?.remove(0);
        let mut command = Command::new(program);
        command.arg(format!("--config.file={}", at("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", at("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let process = Process::start("prometheus", &command, &at("log"), None)?;
        until("Prometheus is ready", LIMIT, async || match get(port, "/-/ready").await {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}: {}", std::fs::read_to_string(at("log")).unwrap_or_default()).into()),
        })
        .await?;
        Ok(Self { port, namespace: scene.namespace.clone(), _process: process, _folder: folder })
    }

    /// The labels of every alert that fires.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn firing(&self) -> Result<Vec<Value>> {
        Ok(self.alerts().await?.into_iter().filter(|alert| alert.state == "firing").map(|alert| alert.labels).collect())
    }

    /// Whether an alert fires, or is about to, for anything, once the rules have looked at what has been scraped by now.
    ///
    /// # Errors
    /// It does not answer, or evaluates no rules any more.
    pub async fn is_active(&self, alert: &str) -> Result<bool> {
        // What is recorded in one evaluation is seen by the alerts in the next.
        for _ in 0..2 {
            let before = self.evaluations().await?;
            until("every rule is evaluated once more", LIMIT, async || {
                let now = self.evaluations().await?;
                let is_new = now.iter().zip(&before).all(|(now, before)| now.last_evaluation > before.last_evaluation);
                if is_new { Ok(()) } else { Err(format!("{now:?}").into()) }
            })
            .await?;
        }
        Ok(self.alerts().await?.iter().any(|found| found.labels.get("alertname").is_some_and(|name| name == alert)))
    }

    /// Those of the test's own namespace: the operator tells of the pipelines of other tests, too.
    async fn alerts(&self) -> Result<Vec<Alert>> {
        let all = self.ask::<Alerts>("/api/v1/alerts").await?.alerts;
        Ok(all.into_iter().filter(|alert| alert.labels.get("namespace").is_some_and(|found| *found == *self.namespace)).collect())
    }

    async fn evaluations(&self) -> Result<Vec<Group>> {
        Ok(self.ask::<Groups>("/api/v1/rules").await?.groups)
    }

    /// The labels and the value of each series of an expression that gives some.
    ///
    /// # Errors
    /// It does not answer, or the expression is none.
    pub async fn query(&self, expression: &str) -> Result<Vec<(Value, f64)>> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let Found { result } = self.ask(&format!("/api/v1/query?query={encoded}")).await?;
        Ok(result.into_iter().map(|series| (series.metric, series.value.1.parse().unwrap_or(f64::NAN))).collect())
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let answer = get(self.port, path).await?;
        let body: Body<T> = serde_json::from_str(&answer.body).map_err(|why| format!("{path}: {why}: {}", answer.body))?;
        Ok(body.data)
    }
}

#[derive(Deserialize)]
struct Body<T> {
    data: T,
}

#[derive(Deserialize)]
struct Alerts {
    alerts: Vec<Alert>,
}

#[derive(Deserialize)]
struct Alert {
    state: String,
    labels: Value,
}

#[derive(Deserialize)]
struct Groups {
    groups: Vec<Group>,
}

/// Rules that are evaluated together.
#[derive(Debug, Deserialize)]
struct Group {
    #[serde(rename = "lastEvaluation")]
    last_evaluation: jiff::Timestamp,
}

#[derive(Deserialize)]
struct Found {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: Value,
    /// When, and the number as text.
    value: (f64, String),
}
