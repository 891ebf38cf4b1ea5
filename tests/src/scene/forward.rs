//! A port of a pod on loopback, through `kubectl port-forward`: for requests that the apiserver's own proxy would change. It keeps the
//! header `Authorization` for itself.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
};

use super::{Result, Scene};
use crate::cluster::Tool;

/// The way to a pod; it ends when this is dropped.
#[derive(Debug)]
pub struct Forward {
    /// The port on loopback.
    pub port: u16,
    _child: Child,
}

impl Scene {
    /// Opens a way to a port of a pod.
    ///
    /// # Errors
    /// kubectl ends.
    pub async fn forward(&self, pod: &str, port: u16) -> Result<Forward> {
        let mut command = self.cluster.tool(Tool::Kubectl);
        command.args(["-n", &self.namespace, "port-forward", &format!("pod/{pod}"), &format!(":{port}")]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no output of kubectl")?).lines();
        // `Forwarding from 127.0.0.1:40123 -> 3000`
        while let Some(line) = lines.next_line().await? {
            let own = line.split_once("127.0.0.1:").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
            if let Some(port) = own {
                // It stops forwarding once nobody reads what it prints.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Ok(Forward { port, _child: child });
            }
        }
        Err(format!("kubectl port-forward of {pod} ended: {}", child.wait().await?).into())
    }
}
