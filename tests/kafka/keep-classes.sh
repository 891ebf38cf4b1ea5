#!/bin/sh
# keep-classes.sh ROOT: starts Kafka once in the folder ROOT, which has what the image has, and keeps the classes that Java loads for it in
# ROOT/opt/kafka/classes (JEP 350): with them a broker starts with a third less processor time. For root; needs mount, ip and chroot, and
# leaves nothing behind but these files. To be run in namespaces of its own: unshare --mount --net --uts --pid --fork --kill-child.
set -eu
# Java takes them for the same jars in the same order only.
export LC_ALL=C
root=$1
classes=opt/kafka/classes
mkdir -p "$root/proc" "$root/dev" "$root/tmp" "$root/$classes"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
ip link set lo up
# Java looks its own name up.
hostname localhost

libs=
for jar in "$root"/opt/kafka/libs/*.jar; do libs=$libs${libs:+:}${jar#"$root"}; done
cat > "$root/tmp/server.properties" <<'EOF'
node.id=0
process.roles=broker,controller
controller.quorum.voters=0@localhost:9093
controller.listener.names=CONTROLLER
listeners=INTERNAL://localhost:9092,CONTROLLER://localhost:9093
inter.broker.listener.name=INTERNAL
listener.security.protocol.map=INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=/tmp/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
EOF
java="chroot $root /opt/java/openjdk/bin/java -Xmx256m -XX:TieredStopAtLevel=1 -cp $libs"

$java -XX:ArchiveClassesAtExit=/$classes/storage.jsa kafka.tools.StorageTool format -t cGVuc3RvY2sta2Fma2EtMA -c /tmp/server.properties
$java -XX:ArchiveClassesAtExit=/$classes/broker.jsa -XX:+UseG1GC kafka.Kafka /tmp/server.properties > "$root/tmp/log" 2>&1 &
broker=$!
# What is loaded for a client's sake belongs to it; the tool waits until it is answered.
topics="$java org.apache.kafka.tools.TopicCommand --bootstrap-server localhost:9092"
if $topics --create --topic t --partitions 1 && $topics --describe && $topics --delete --topic t; then kill "$broker"; else kill -9 "$broker"; fi
wait "$broker" || true
for archive in storage broker; do
  [ -s "$root/$classes/$archive.jsa" ] || { echo "$archive.jsa was not written; the broker's log:" >&2; cat "$root/tmp/log" >&2; exit 1; }
done
