//! What the built-in processors ask of the pipeline around them, as rules of the schema (CEL), made from their table. Pure.
//!
//! Types and handlers of one's own are not among them: what those ask, if anything, is decided elsewhere.

use kube::core::Rule;

use super::{BUILTINS, Builtin, Need, SourceKind};

/// Each has the source that it handles.
pub(crate) fn source() -> Rule {
    let fronts = names(|b| b.source == SourceKind::Http);
    let rule = format!("!has(self.processor.builtin) || has(self.source.http) == (self.processor.builtin in {})", list(&fronts));
    Rule::new(rule)
        .message(format!("of the built-in processors {} go with source.http, the others with source.kafka", fronts.join(", ")).as_str())
}

/// Each has a sink if it needs one, and none if it produces nothing.
pub(crate) fn sink() -> Rule {
    part("sink", |b| b.sink)
}

/// Each has a table if it answers from one, else none.
pub(crate) fn table() -> Rule {
    part("table", |b| b.table)
}

fn part(field: &str, need: impl Fn(&Builtin) -> Need) -> Rule {
    let (required, forbidden) = (names(|b| need(b) == Need::Required), names(|b| need(b) == Need::Forbidden));
    let rule = format!(
        "!has(self.processor.builtin) || !(self.processor.builtin in (has(self.{field}) ? {} : {}))",
        list(&forbidden),
        list(&required)
    );
    let message = format!("of the built-in processors {} need a {field}; {} have none", required.join(", "), forbidden.join(", "));
    Rule::new(rule).message(message.as_str())
}

fn names(wanted: impl Fn(&Builtin) -> bool) -> Vec<&'static str> {
    BUILTINS.iter().filter(|b| wanted(b)).map(|b| b.name).collect()
}

/// The names as a list in CEL.
fn list(names: &[&str]) -> String {
    format!("[{}]", names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", "))
}
