//! What of a tenant's code runs in a worker's pod: an image instead of the stock worker's, or a handler beside it. Pure.

use penstock_crds::{
    EventPipelineSpec,
    pipeline::{HttpHandler, Resources},
    processor::Choice,
};

use super::validate::{check_amounts, invalid};
use crate::refusal::Refusal;

/// The tenant's code in a worker's pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum OwnCode {
    /// None: the stock worker runs.
    #[default]
    None,
    /// This image is the worker.
    Worker(String),
    /// This container runs beside the stock worker.
    Handler(Handler),
}

/// A container that the worker calls.
#[derive(Clone, Debug, PartialEq)]
pub struct Handler {
    /// Its image.
    pub image: String,
    /// The port that it listens on.
    pub port: u16,
    /// What it may use; none: the defaults.
    pub resources: Option<Resources>,
}

/// The tenant's code, as far as a spec names some.
///
/// # Errors
/// `InvalidSpec`, when a handler could not run beside the worker.
pub fn own_code(spec: &EventPipelineSpec, choice: &Choice, admin_port: u16) -> Result<OwnCode, Refusal> {
    match (choice, &spec.processor.http, &spec.processor.image) {
        (Choice::Http(call), Some(HttpHandler { image, resources, .. }), _) => {
            if call.port == admin_port {
                return Err(invalid(format!("processor.http.port and admin.port are both {admin_port}: change one of them")));
            }
            check_amounts(resources.as_ref(), "processor.http.resources")?;
            Ok(OwnCode::Handler(Handler { image: named(image, "processor.http.image")?, port: call.port, resources: resources.clone() }))
        }
        (Choice::Image { .. }, _, Some(image)) => Ok(OwnCode::Worker(named(image, "processor.image")?)),
        _ => Ok(OwnCode::None),
    }
}

/// The apiserver refuses the whole Deployment for a name that is none.
fn named(image: &str, field: &str) -> Result<String, Refusal> {
    if image.is_empty() || image.contains(char::is_whitespace) {
        return Err(invalid(format!("{field}: `{image}` is not the name of an image, such as registry.example/shop/handler:1")));
    }
    Ok(image.to_owned())
}
