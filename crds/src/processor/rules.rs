//! What the built-in processors ask of the pipeline around them, as rules of the schema (CEL), made from their table. Pure.
//!
//! Types and handlers of one's own are not among them: what those ask, if anything, is decided elsewhere.

use kube::core::Rule;

use super::{BUILTINS, Builtin, Need, SourceKind, TableUse};

/// Each has the source that it handles.
pub(crate) fn source() -> Rule {
    let fronts = names(|b| b.source == SourceKind::Http);
    let rule = format!("!has(self.processor.builtin) || has(self.source.http) == (self.processor.builtin in {})", list(&fronts));
    Rule::new(rule)
        .message(format!("of the built-in processors {} go with source.http, the others with source.kafka", fronts.join(", ")).as_str())
}

/// Each has a sink if it needs one, and none if it produces nothing.
pub(crate) fn sink() -> Rule {
    let (required, forbidden) = (names(|b| b.sink == Need::Required), names(|b| b.sink == Need::Forbidden));
    let rule = format!(
        "!has(self.processor.builtin) || !(self.processor.builtin in (has(self.sink) ? {} : {}))",
        list(&forbidden),
        list(&required)
    );
    let message = format!("of the built-in processors {} need a sink; {} have none", required.join(", "), forbidden.join(", "));
    Rule::new(rule).message(message.as_str())
}

/// Handlers of types have a sink if one of them needs it, else none.
pub(crate) fn sink_of_handlers() -> Rule {
    let producing = names(|b| b.is_handler() && b.sink == Need::Required);
    let rule = format!(
        "!has(self.processor.byType) || has(self.sink) == self.processor.byType.handlers.exists(h, h.builtin in {})",
        list(&producing)
    );
    let message = format!("processor.byType needs a sink where a handler is one of {}, and has none otherwise", producing.join(", "));
    Rule::new(rule).message(message.as_str())
}

/// Each has a table if it answers from one, may have one if it keeps keys there, else none.
pub(crate) fn table() -> Rule {
    let (answering, without) = (names(|b| b.table == TableUse::Answers), names(|b| b.table == TableUse::Nothing));
    let rule = format!(
        "!has(self.processor.builtin) || !(self.processor.builtin in (has(self.table) ? {} : {}))",
        list(&without),
        list(&answering)
    );
    let message = format!("of the built-in processors {} need a table; {} have none", answering.join(", "), without.join(", "));
    Rule::new(rule).message(message.as_str())
}

/// Who answers from topics answers with what it has written.
pub(crate) fn table_of_answers() -> Rule {
    let rule = format!("{} || self.sink.kafka.topic in self.table.topics", no_table_of(TableUse::Answers));
    Rule::new(rule).message("table.topics must hold sink.kafka.topic: the front answers with what it has written")
}

/// Who keeps keys keeps them in a topic where nothing else is.
pub(crate) fn table_of_keys() -> Rule {
    let rule =
        format!("{} || (size(self.table.topics) == 1 && !(self.sink.kafka.topic in self.table.topics))", no_table_of(TableUse::Keys));
    let message = format!(
        "of {} table.topics must be one topic, and not sink.kafka.topic: idempotency keys are kept there",
        names(|b| b.table == TableUse::Keys).join(", ")
    );
    Rule::new(rule).message(message.as_str())
}

/// Who answers from topics may keep keys beside them; who only keeps keys names their topic as its table.
pub(crate) fn keys_beside_a_table() -> Rule {
    let answering = names(|b| b.table == TableUse::Answers);
    let rule = format!(
        "!has(self.table) || !has(self.table.keys) || !has(self.processor.builtin) || self.processor.builtin in {}",
        list(&answering)
    );
    Rule::new(rule)
        .message(format!("table.keys goes with {}: what else keeps keys has their topic in table.topics", answering.join(", ")).as_str())
}

fn no_table_of(table: TableUse) -> String {
    let of = names(|b| b.table == table);
    format!("!has(self.table) || !has(self.sink) || !has(self.processor.builtin) || !(self.processor.builtin in {})", list(&of))
}

fn names(wanted: impl Fn(&Builtin) -> bool) -> Vec<&'static str> {
    BUILTINS.iter().filter(|b| wanted(b)).map(|b| b.name).collect()
}

/// The names as a list in CEL.
fn list(names: &[&str]) -> String {
    format!("[{}]", names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", "))
}
