//! Reading and changing the configuration of topics.

use std::ffi::c_int;
use std::ptr;
use std::time::Duration;

use rdkafka::bindings as sys;

use super::native::{Call, Event, Native};
use super::{Owned, array, c_text, code, pointers, text};
use crate::error::{Error, Result};
use crate::topic::{ConfigDelta, ConfigEntry, ConfigSource, PerTopic, TopicConfig};

impl Native {
    /// Reads the whole configuration of topics.
    pub(crate) async fn describe_configs(&self, names: &[&str], timeout: Duration) -> Result<PerTopic<TopicConfig>> {
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS;
        let send = |call: &Call<'_>| {
            let resources = names.iter().map(|name| topic_resource(name)).collect::<Result<Vec<_>>>()?;
            // SAFETY: all arguments are alive for the call; librdkafka copies them.
            unsafe {
                sys::rd_kafka_DescribeConfigs(call.rk, pointers(&resources).as_mut_ptr(), resources.len(), call.options, call.queue);
            }
            Ok(())
        };
        self.request(operation, timeout, send, |event| Ok(read_configs(event))).await
    }

    /// Sets and removes single configuration keys (KIP-339); all other keys keep their values.
    pub(crate) async fn alter_configs(&self, deltas: &[&ConfigDelta], timeout: Duration) -> Result<PerTopic<()>> {
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS;
        let send = |call: &Call<'_>| {
            let resources = deltas.iter().map(|delta| delta_resource(delta)).collect::<Result<Vec<_>>>()?;
            // SAFETY: all arguments are alive for the call; librdkafka copies them.
            unsafe {
                sys::rd_kafka_IncrementalAlterConfigs(
                    call.rk,
                    pointers(&resources).as_mut_ptr(),
                    resources.len(),
                    call.options,
                    call.queue,
                );
            }
            Ok(())
        };
        self.request(operation, timeout, send, |event| {
            let mut count = 0;
            // SAFETY: the event holds the reply to this operation; the array and all it points to live as long as it.
            unsafe {
                let result = sys::rd_kafka_event_IncrementalAlterConfigs_result(event.ptr());
                let resources = array(sys::rd_kafka_IncrementalAlterConfigs_result_resources(result, &mut count), count);
                Ok(resources.iter().map(|resource| read_resource(*resource, |_| ())).collect())
            }
        })
        .await
    }
}

fn read_configs(event: &Event) -> PerTopic<TopicConfig> {
    let mut count = 0;
    // SAFETY: the event holds the reply to this operation; the array and all it points to live as long as it.
    unsafe {
        let result = sys::rd_kafka_event_DescribeConfigs_result(event.ptr());
        let resources = array(sys::rd_kafka_DescribeConfigs_result_resources(result, &mut count), count);
        resources.iter().map(|resource| read_resource(*resource, |resource| read_entries(resource))).collect()
    }
}

fn topic_resource(name: &str) -> Result<Owned<sys::rd_kafka_ConfigResource_t>> {
    let name = c_text(name)?;
    // SAFETY: the name is alive and copied.
    let resource = unsafe { sys::rd_kafka_ConfigResource_new(sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC, name.as_ptr()) };
    Owned::new(resource, sys::rd_kafka_ConfigResource_destroy)
}

fn delta_resource(delta: &ConfigDelta) -> Result<Owned<sys::rd_kafka_ConfigResource_t>> {
    use sys::rd_kafka_AlterConfigOpType_t as Op;
    let resource = topic_resource(&delta.topic)?;
    let set = delta.set.iter().map(|(key, value)| (key, Op::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET, Some(value)));
    let unset = delta.unset.iter().map(|key| (key, Op::RD_KAFKA_ALTER_CONFIG_OP_TYPE_DELETE, None));
    for (key, operation, value) in set.chain(unset) {
        let c_key = c_text(key)?;
        let c_value = value.map(|value| c_text(value)).transpose()?;
        let value = c_value.as_ref().map_or(ptr::null(), |value| value.as_ptr());
        // SAFETY: everything is alive; the texts are copied. A returned error is ours to destroy.
        let problem = unsafe { sys::rd_kafka_ConfigResource_add_incremental_config(resource.ptr(), c_key.as_ptr(), operation, value) };
        if let Ok(problem) = Owned::new(problem, sys::rd_kafka_error_destroy) {
            // SAFETY: the error lives until the end of this block; its text is copied.
            let message = unsafe { text(sys::rd_kafka_error_string(problem.ptr())) }.unwrap_or_default();
            return Err(Error::InvalidConfig { message: format!("{key}: {message}") });
        }
    }
    Ok(resource)
}

/// # Safety
/// The resource belongs to a reply that is alive.
unsafe fn read_resource<T>(
    resource: *const sys::rd_kafka_ConfigResource_t,
    read: impl Fn(*const sys::rd_kafka_ConfigResource_t) -> T,
) -> (String, Result<T>) {
    // SAFETY: the caller's promise covers the resource and what it points to.
    unsafe {
        let name = text(sys::rd_kafka_ConfigResource_name(resource)).unwrap_or_default();
        let code = code::rd_kafka_ConfigResource_error(resource);
        if code.is_error() {
            let message = text(sys::rd_kafka_ConfigResource_error_string(resource)).unwrap_or_default();
            let error = code.into_error(message, Some(&name));
            return (name, Err(error));
        }
        (name, Ok(read(resource)))
    }
}

/// # Safety
/// The resource belongs to a reply that is alive.
unsafe fn read_entries(resource: *const sys::rd_kafka_ConfigResource_t) -> TopicConfig {
    let mut count = 0;
    // SAFETY: the caller's promise covers the resource and its entries.
    let entries = unsafe { array(sys::rd_kafka_ConfigResource_configs(resource, &mut count), count) };
    let read = |entry: &*const sys::rd_kafka_ConfigEntry_t| {
        // SAFETY: as above.
        unsafe {
            let name = text(sys::rd_kafka_ConfigEntry_name(*entry)).unwrap_or_default();
            let value = ConfigEntry {
                value: text(sys::rd_kafka_ConfigEntry_value(*entry)),
                source: config_source(code::rd_kafka_ConfigEntry_source(*entry)),
                is_default: sys::rd_kafka_ConfigEntry_is_default(*entry) == 1,
                is_sensitive: sys::rd_kafka_ConfigEntry_is_sensitive(*entry) == 1,
                is_read_only: sys::rd_kafka_ConfigEntry_is_read_only(*entry) == 1,
            };
            (name, value)
        }
    };
    TopicConfig { entries: entries.iter().map(read).collect() }
}

fn config_source(source: c_int) -> ConfigSource {
    use sys::rd_kafka_ConfigSource_t as Source;
    const DYNAMIC_TOPIC: c_int = Source::RD_KAFKA_CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG as c_int;
    const DYNAMIC_BROKER: c_int = Source::RD_KAFKA_CONFIG_SOURCE_DYNAMIC_BROKER_CONFIG as c_int;
    const DYNAMIC_DEFAULT_BROKER: c_int = Source::RD_KAFKA_CONFIG_SOURCE_DYNAMIC_DEFAULT_BROKER_CONFIG as c_int;
    const STATIC_BROKER: c_int = Source::RD_KAFKA_CONFIG_SOURCE_STATIC_BROKER_CONFIG as c_int;
    const DEFAULT: c_int = Source::RD_KAFKA_CONFIG_SOURCE_DEFAULT_CONFIG as c_int;
    match source {
        DYNAMIC_TOPIC => ConfigSource::DynamicTopic,
        DYNAMIC_BROKER => ConfigSource::DynamicBroker,
        DYNAMIC_DEFAULT_BROKER => ConfigSource::DynamicDefaultBroker,
        STATIC_BROKER => ConfigSource::StaticBroker,
        DEFAULT => ConfigSource::Default,
        _ => ConfigSource::Other,
    }
}
