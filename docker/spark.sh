#!/bin/sh
# Spark starts this image as `driver` or `executor`, configured by the environment; other arguments go to ctrloom.
set -eu
case "${1-}" in
driver)
  shift
  exec "$SPARK_HOME/bin/spark-submit" --deploy-mode client \
    --conf "spark.driver.bindAddress=$SPARK_DRIVER_BIND_ADDRESS" \
    --conf "spark.executorEnv.SPARK_DRIVER_POD_IP=$SPARK_DRIVER_BIND_ADDRESS" "$@"
  ;;
executor)
  # Java options are in SPARK_JAVA_OPT_0, SPARK_JAVA_OPT_1, ...; none has a line break.
  options=$(mktemp)
  env | sed -n 's/^SPARK_JAVA_OPT_[0-9]*=//p' | sed 's/\\/\\\\/g; s/"/\\"/g; s/.*/"&"/' > "$options"
  exec java "@$options" "-Xms$SPARK_EXECUTOR_MEMORY" "-Xmx$SPARK_EXECUTOR_MEMORY" \
    -cp "${SPARK_CONF_DIR-}:$SPARK_HOME/jars/*" \
    org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend \
    --driver-url "$SPARK_DRIVER_URL" --executor-id "$SPARK_EXECUTOR_ID" --cores "$SPARK_EXECUTOR_CORES" \
    --app-id "$SPARK_APPLICATION_ID" --hostname "$SPARK_EXECUTOR_POD_IP" \
    --resourceProfileId "$SPARK_RESOURCE_PROFILE_ID" --podName "$SPARK_EXECUTOR_POD_NAME"
  ;;
*)
  exec ctrloom "$@"
  ;;
esac
