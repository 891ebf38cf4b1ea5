//! The manifests of an example, applied in a test's own place.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use penstock_crds::{EventPipeline, KafkaTopic};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Result, Scene};

/// An object as it stands in a file.
#[derive(Deserialize)]
struct Manifest {
    kind: String,
    metadata: Named,
    #[serde(default)]
    spec: Map<String, Value>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

impl Scene {
    /// Applies the objects of `examples/<example>` as they stand there, in the order of the files, but in this test's namespace and
    /// with topic names of its own. A namespace in them is passed over: the test has its own.
    ///
    /// # Errors
    /// A file cannot be read, has an object of another kind, or is refused.
    pub async fn apply_example(&self, example: &str) -> Result {
        for manifest in manifests_of(&self.cluster.repository().join("examples").join(example))? {
            self.apply_here(manifest).await.map_err(|why| format!("examples/{example}: {why}"))?;
        }
        Ok(())
    }

    /// Applies one file of an example, such as `coffee/10-topics.yaml`, as [`Scene::apply_example`] does all.
    ///
    /// # Errors
    /// As there.
    pub async fn apply_example_file(&self, file: &str) -> Result {
        for manifest in manifests_in(&self.cluster.repository().join("examples").join(file))? {
            self.apply_here(manifest).await.map_err(|why| format!("examples/{file}: {why}"))?;
        }
        Ok(())
    }

    async fn apply_here(&self, manifest: Manifest) -> Result {
        let Manifest { kind, metadata: Named { name }, mut spec } = manifest;
        match kind.as_str() {
            "Namespace" => {}
            "KafkaTopic" => {
                let topic = self.kafka_name(spec.get("topicName").and_then(Value::as_str).unwrap_or(&name));
                spec.insert("topicName".to_owned(), topic.into());
                self.apply::<KafkaTopic>(&name, spec.into()).await?;
            }
            "EventPipeline" => drop(self.apply::<EventPipeline>(&name, spec.into()).await?),
            other => return Err(format!("{name} is of kind `{other}`, which is not known here").into()),
        }
        Ok(())
    }
}

/// All objects in the manifests of a folder, in the order of its files.
fn manifests_of(folder: &Path) -> Result<Vec<Manifest>> {
    let entries = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<PathBuf>>>()?;
    let mut files: Vec<PathBuf> = entries.into_iter().filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect();
    files.sort();
    let mut manifests = Vec::new();
    for file in files {
        manifests.extend(manifests_in(&file)?);
    }
    Ok(manifests)
}

fn manifests_in(file: &Path) -> Result<Vec<Manifest>> {
    let text = fs::read_to_string(file)?;
    serde_saphyr::from_multiple(&text).map_err(|why| format!("{}: {why}", file.display()).into())
}

#[cfg(test)]
mod tests {
    use penstock_crds::{
        EventPipelineSpec,
        worker::{Choice, DRAIN_TIMEOUT, PipelineId, Producing, WorkerConfig, WorkerSource},
    };
    use penstock_workers::processors;

    use super::*;

    #[test]
    fn a_worker_takes_the_options_of_every_example() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        let mut built = 0;
        for example in fs::read_dir(examples).unwrap() {
            for Manifest { kind, metadata: Named { name }, spec } in manifests_of(&example.unwrap().path()).unwrap() {
                if kind != "EventPipeline" {
                    continue;
                }
                let spec: EventPipelineSpec = serde_json::from_value(spec.into()).unwrap();
                let processor = spec.processor.choice().unwrap();
                if let Choice::Image { .. } = processor {
                    // Only that worker knows its options: its own tests read them.
                    continue;
                }
                let (table, keys) = spec.table.map(|table| (table.topics, table.keys)).unwrap_or_default();
                let config = WorkerConfig {
                    pipeline: PipelineId { namespace: "n".into(), name: name.clone() },
                    bootstrap_servers: vec!["localhost:9092".into()],
                    // Whether the source fits is looked at when it runs.
                    source: WorkerSource::Http { port: 3000, auth: None },
                    processor,
                    sink: spec.sink.map(|sink| sink.kafka.topic),
                    table,
                    keys,
                    producer: Producing::default(),
                    admin_port: 8080,
                    drain_timeout: DRAIN_TIMEOUT,
                };
                processors::build(&config).unwrap_or_else(|why| panic!("{name}: {why}"));
                built += 1;
            }
        }
        assert!(built >= 4, "{built} pipelines");
    }
}
