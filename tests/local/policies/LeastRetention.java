import java.util.Map;

import org.apache.kafka.common.errors.PolicyViolationException;
import org.apache.kafka.server.policy.AlterConfigPolicy;
import org.apache.kafka.server.policy.CreateTopicPolicy;

/** Topics keep their records for a minute at least. */
public final class LeastRetention implements CreateTopicPolicy, AlterConfigPolicy {
    @Override
    public void configure(Map<String, ?> configs) {}

    @Override
    public void validate(CreateTopicPolicy.RequestMetadata topic) {
        check(topic.configs());
    }

    @Override
    public void validate(AlterConfigPolicy.RequestMetadata topic) {
        check(topic.configs());
    }

    @Override
    public void close() {}

    private static void check(Map<String, String> configs) {
        String retention = configs == null ? null : configs.get("retention.ms");
        if (retention != null && Long.parseLong(retention) < 60_000) {
            throw new PolicyViolationException("records are to be kept for a minute at least");
        }
    }
}
