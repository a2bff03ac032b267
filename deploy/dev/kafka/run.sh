#!/usr/bin/env bash
# One KRaft node (broker and controller) on loopback, for development and tests: run.sh [PORT] [DATA_DIR] [CONTROLLER_PORT]
# Needs Java 17 or newer, and Maven the first time. Prints "ready 127.0.0.1:PORT" and runs until it is stopped.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
port=${1:-9092}
data=${2:-$here/.broker}
controller=${3:-$((port + 1))}
java=${JAVA_HOME:+$JAVA_HOME/bin/}java

mkdir -p "$here/target"
( # several may start at once: one fetches, the others wait for it
    ! command -v flock >/dev/null || flock 9
    if ! compgen -G "$here/target/lib/kafka_2.13-*.jar" >/dev/null; then
        mvn --batch-mode --quiet --file "$here/pom.xml" dependency:copy-dependencies >&2
    fi
) 9>"$here/target/lock"

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; }
if answers; then
    echo "port $port is taken" >&2
    exit 1
fi

mkdir -p "$data"
cat >"$data/server.properties" <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
log.dirs=$data/log
num.partitions=1
auto.create.topics.enable=true
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.cleaner.dedupe.buffer.size=4194304
END
if [ -n "${HEED_KAFKA_PROPERTIES:-}" ]; then # of two lines for one key the later holds
    cat "$HEED_KAFKA_PROPERTIES" >>"$data/server.properties"
fi

options=(-Xmx"${HEED_KAFKA_HEAP:-512m}" -Xms64m -XX:+UseSerialGC -XX:TieredStopAtLevel=1
    -Dorg.slf4j.simpleLogger.defaultLogLevel="${HEED_KAFKA_LOG:-warn}" ${HEED_KAFKA_JAVA:-} -cp "$here/target/lib/*")

if [ ! -e "$data/log/meta.properties" ]; then # the id is the base64 of sixteen fixed bytes: any would do
    "$java" "${options[@]}" kafka.tools.StorageTool format \
        --cluster-id aGVlZC1kZXYta2Fma2EtMQ --config "$data/server.properties" ${HEED_KAFKA_FORMAT:-} >"$data/format.log" 2>&1 ||
        { cat "$data/format.log" >&2; exit 1; }
fi

"$java" "${options[@]}" kafka.Kafka "$data/server.properties" >"$data/broker.log" 2>&1 &
broker=$!
trap 'kill "$broker" 2>/dev/null; wait "$broker" 2>/dev/null || true; exit 0' TERM INT

until answers; do
    kill -0 "$broker" 2>/dev/null || { tail -n 30 "$data/broker.log" >&2; exit 1; }
    sleep 0.1
done
echo "ready 127.0.0.1:$port"
wait "$broker"
