//! Judges the workers of a pipeline by their Deployment and, where that is not enough, their pods. Pure: no I/O, no clock.
//!
//! The words do not change while the state does not: no times, counts of restarts or pod names stand in them.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::{
    apps::v1::{Deployment, DeploymentCondition},
    core::v1::{ContainerStatus, Pod},
};
use penstock_crds::condition::{ConditionType, Reason, Statement};

use super::{handler, pod};
use crate::watch::Guarded;

/// The most characters of a crashed worker's last words.
const MAX_LAST_WORDS: usize = 300;

/// Exit codes from here on stand for signals.
const KILLED: i32 = 128;

/// What is known of the workers.
#[derive(Clone, Copy, Debug)]
pub struct Workers<'a> {
    /// The Deployment, if there is one.
    pub deployment: Option<&'a Deployment>,
    /// The pods.
    pub pods: &'a [Arc<Guarded<Pod>>],
    /// How many workers shall run.
    pub wanted: i32,
    /// Whether they have had their time to start.
    pub overdue: bool,
}

/// How the workers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Whether they are as declared: all of them, all new, all ready.
    pub settled: bool,
    /// What the condition `WorkersAvailable` says.
    pub statement: Statement,
}

/// Numbers of a Deployment's status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    /// Whether they speak of the Deployment as it is now.
    current: bool,
    all: i32,
    updated: i32,
    ready: i32,
}

/// Judges the workers.
#[must_use]
pub fn judge(workers: Workers<'_>) -> Judgement {
    let Some(deployment) = workers.deployment else {
        return unavailable(Reason::WorkersUnavailable, "no workers were started yet".to_owned());
    };
    let (counts, wanted) = (counts(deployment), workers.wanted);
    if wanted == 0 {
        return match counts.all {
            _ if !counts.current => rolling(true, "the workers are told to stop".to_owned()),
            0 => settled(Reason::ScaledToZero, "the pipeline is scaled to no workers".to_owned()),
            left => rolling(true, format!("{left} workers are still to stop")),
        };
    }
    let enough = counts.ready >= wanted;
    if let Some(failure) = condition(deployment, "ReplicaFailure").filter(|c| c.status == "True") {
        return judgement(enough, Reason::RefusedByKubernetes, words(failure));
    }
    if counts.current && counts.all == counts.updated && counts.updated == wanted && enough {
        return settled(Reason::WorkersAvailable, format!("{wanted} of {wanted} workers are ready"));
    }
    if let Some((failing, reason, what)) = most_common_failure(workers.pods, workers.overdue) {
        let all = workers.pods.len();
        let reason = if enough && reason == Reason::WorkersUnavailable { Reason::RollingOut } else { reason };
        return judgement(enough, reason, format!("{} of {wanted} workers are ready; {failing} of {all}: {what}", counts.ready));
    }
    if !counts.current {
        return rolling(enough, "the Deployment is about to change".to_owned());
    }
    if counts.all > counts.updated {
        let old = counts.all - counts.updated;
        return rolling(enough, format!("{} of {wanted} workers have the new configuration; {old} old ones still run", counts.updated));
    }
    if counts.all > wanted {
        return rolling(enough, format!("{} workers are still to stop", counts.all - wanted));
    }
    unavailable(Reason::WorkersUnavailable, format!("{} of {wanted} workers are ready", counts.ready))
}

fn counts(deployment: &Deployment) -> Counts {
    let Some(status) = &deployment.status else { return Counts::default() };
    Counts {
        current: status.observed_generation >= deployment.metadata.generation,
        all: status.replicas.unwrap_or_default(),
        updated: status.updated_replicas.unwrap_or_default(),
        ready: status.ready_replicas.unwrap_or_default(),
    }
}

fn judgement(available: bool, reason: Reason, message: String) -> Judgement {
    Judgement { settled: false, statement: Statement::new(ConditionType::WorkersAvailable, Some(available), reason, message) }
}

fn unavailable(reason: Reason, message: String) -> Judgement {
    judgement(false, reason, message)
}

fn rolling(enough: bool, message: String) -> Judgement {
    judgement(enough, Reason::RollingOut, message)
}

fn settled(reason: Reason, message: String) -> Judgement {
    Judgement { settled: true, ..judgement(true, reason, message) }
}

fn condition<'a>(deployment: &'a Deployment, kind: &str) -> Option<&'a DeploymentCondition> {
    deployment.status.as_ref()?.conditions.iter().flatten().find(|c| c.type_ == kind)
}

/// Kubernetes' words, without the name of the pod that it would have made: it is another one each time.
fn words(condition: &DeploymentCondition) -> String {
    let said = condition.message.as_deref().or(condition.reason.as_deref()).unwrap_or("Kubernetes cannot make the pods");
    match said.strip_prefix("pods \"").and_then(|rest| rest.split_once("\" is forbidden: ")) {
        Some((_, why)) => format!("pods are forbidden: {why}"),
        None => said.to_owned(),
    }
}

/// What ails most of the pods: how many, and what.
fn most_common_failure(pods: &[Arc<Guarded<Pod>>], overdue: bool) -> Option<(usize, Reason, String)> {
    let mut found: BTreeMap<String, (usize, Reason)> = BTreeMap::new();
    let ails = |pod: &Pod| failure(pod).or_else(|| not_listening(pod).filter(|_| overdue));
    for (reason, what) in pods.iter().filter_map(|pod| ails(pod.0.as_ref().ok()?)) {
        found.entry(what).or_insert((0, reason)).0 += 1;
    }
    // Of as many, the first by its words, so that the choice does not change from time to time.
    found.into_iter().rev().max_by_key(|(_, (count, _))| *count).map(|(what, (count, reason))| (count, reason, what))
}

/// What keeps a pod from running, unless it is on its way out.
#[must_use]
pub fn failure(pod: &Pod) -> Option<(Reason, String)> {
    let status = pod.status.as_ref().filter(|_| pod.metadata.deletion_timestamp.is_none())?;
    let unschedulable = status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled" && c.status == "False");
    if let Some(condition) = unschedulable {
        let why = condition.message.clone().unwrap_or_default();
        return Some((Reason::WorkersUnavailable, format!("no node takes it: {why}")));
    }
    // A handler is started before the worker, which cannot do without it.
    let mut containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    containers.find_map(|c| container_failure(c).map(|what| (Reason::WorkersFailing, of_container(c, &what))))
}

/// With its name, where it is not the worker itself.
fn of_container(container: &ContainerStatus, what: &str) -> String {
    if container.name == pod::CONTAINER { what.to_owned() } else { format!("container `{}`: {what}", container.name) }
}

/// A handler that runs, and is not reached on its port. Each is at first.
fn not_listening(pod: &Pod) -> Option<(Reason, String)> {
    let status = pod.status.as_ref().filter(|_| pod.metadata.deletion_timestamp.is_none())?;
    let mut handlers = status.init_container_statuses.iter().flatten().filter(|c| c.name == handler::CONTAINER);
    let runs = |c: &ContainerStatus| c.state.as_ref().is_some_and(|state| state.running.is_some());
    let container = handlers.find(|c| runs(c) && !c.ready)?;
    let what = "accepts no connections on its port yet; it must listen on the port in the variable PORT, on all addresses";
    Some((Reason::WorkersUnavailable, of_container(container, what)))
}

fn container_failure(container: &ContainerStatus) -> Option<String> {
    if container.ready {
        return None;
    }
    let state = container.state.as_ref();
    let ended = state.and_then(|s| s.terminated.as_ref()).or_else(|| container.last_state.as_ref()?.terminated.as_ref());
    if let Some(ended) = ended {
        let why = ended.reason.as_deref().unwrap_or("Error");
        // What was ended by a signal had no time to say why.
        let log = ended.message.as_deref().filter(|_| ended.exit_code < KILLED).unwrap_or_default();
        let said = last_words(log);
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        return Some(format!("crashed ({why}, exit code {}){said}", ended.exit_code));
    }
    let waiting = state?.waiting.as_ref()?;
    match waiting.reason.as_deref()? {
        "ContainerCreating" | "PodInitializing" => None,
        // Kubernetes alternates between these.
        "ErrImagePull" | "ImagePullBackOff" => Some(format!("image `{}` cannot be pulled", container.image)),
        reason => Some(format!("{reason}: {}", waiting.message.as_deref().unwrap_or_default())),
    }
}

/// The last line of a log without its time, which would be another one after each crash.
fn last_words(log: &str) -> String {
    let log = without_colours(log);
    let line = log.lines().rev().map(str::trim).find(|l| !l.is_empty()).unwrap_or_default();
    let json: Option<serde_json::Value> = serde_json::from_str(line).ok();
    let message = json.as_ref().and_then(|j| j.pointer("/fields/message").or_else(|| j.get("message"))).and_then(|m| m.as_str());
    let text = message.unwrap_or_else(|| without_time(line));
    text.chars().take(MAX_LAST_WORDS).collect()
}

/// The text without the escape sequences by which terminals are coloured (`ESC [ … m`).
fn without_colours(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |plain, part| plain + part.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, rest)| rest))
}

fn without_time(line: &str) -> &str {
    match line.split_once(char::is_whitespace) {
        Some((first, rest)) if first.parse::<jiff::Timestamp>().is_ok() => rest.trim_start(),
        _ => line,
    }
}

#[cfg(test)]
mod tests;
