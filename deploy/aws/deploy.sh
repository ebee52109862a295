#!/usr/bin/env bash
# Create the stacks of deploy/aws, deploy versions to an environment, replace its keys, show its state.
# docs/deploy-aws.md explains the steps. Credentials and region are found by the AWS CLI itself.
set -euo pipefail
export AWS_PAGER=
templates=$(dirname "$0")

usage() {
  cat <<'TEXT'
usage: deploy/aws/deploy.sh COMMAND ... [NAME=VALUE ...] [--dry-run]

  foundation OWNER/NAME      once per account: image registry, data bucket, roles of GitHub's workflows
  up ENVIRONMENT             create an environment, or update it to the templates: network, database, platform
  deploy ENVIRONMENT [VERSION]
                             migrate the journal, then update the service; VERSION: 1.2.0, or an environment; without: that of ENVIRONMENT
  keys ENVIRONMENT FILE      replace the API keys of an environment by those in FILE, as `batchyield keys` writes it
  status ENVIRONMENT         version, tasks and address; exit code 1 if fewer tasks run than should

NAME=VALUE sets a parameter of the templates; a parameter that is not given keeps its value.
--dry-run (of the first three) shows what would change and changes nothing.

examples:
  deploy/aws/deploy.sh foundation acme/batchyield
  deploy/aws/deploy.sh up staging Certificate=arn:aws:acm:eu-central-1:123456789012:certificate/0a1b --dry-run
  deploy/aws/deploy.sh deploy staging 1.2.0 MostTasks=12
  deploy/aws/deploy.sh keys staging api_keys
TEXT
}

fail() { # what is wrong, what to do
  printf 'deploy.sh: %s\n  %s\n' "$1" "$2" >&2
  exit "${3:-2}"
}

stack_of() { echo "batchyield-$environment-$1"; }

describe() { aws cloudformation describe-stacks --stack-name "$1" --output text --query "$2" 2>/dev/null; }

exists() { # a stack of which only a change set was made counts as missing
  local status
  status=$(describe "$1" 'Stacks[0].StackStatus') && [ "$status" != REVIEW_IN_PROGRESS ]
}

load() { # read a stack's outputs into the associative array `outputs`
  local line lines
  lines=$(aws cloudformation describe-stacks --stack-name "$1" --output text \
    --query 'Stacks[0].Outputs[].[join(`=`, [OutputKey, OutputValue])]') ||
    fail "stack $1 cannot be read" "${2:-docs/deploy-aws.md lists the steps and their order}"
  while IFS= read -r line; do outputs[${line%%=*}]=${line#*=}; done <<<"$lines"
}

parameters_of() { awk '/^[A-Z]/ {inside = $1 == "Parameters:"} inside && /^  [A-Za-z]+:/ {sub(":.*", "", $1); print $1}' "$@"; }

check_settings() { # `aws cloudformation deploy` ignores an unknown parameter
  local one
  for one in "${settings[@]}"; do
    parameters_of "${@/#/$templates/}" | grep -x "${one%%=*}" >/dev/null ||
      fail "no template has a parameter ${one%%=*}" "the parameters are: $(parameters_of "${@/#/$templates/}" | sort -u | xargs)"
  done
}

failures() { # reasons why the newest change of a stack failed
  aws cloudformation describe-stack-events --stack-name "$1" --no-paginate --output text --query \
    'StackEvents[?ends_with(ResourceStatus, `_FAILED`)].[Timestamp, LogicalResourceId, ResourceStatusReason] | [:10]' >&2 || true
}

change() { # stack, template: create or update the stack, or show what would change
  local stack=$1 template=$templates/$2.yaml name output given=() options=()
  for name in "${!outputs[@]}"; do given+=("$name=${outputs[$name]}"); done
  [ "$dry_run" = no ] || options=(--no-execute-changeset)
  echo "$stack" >&2
  if ! output=$(aws cloudformation deploy --stack-name "$stack" --template-file "$template" \
    --capabilities CAPABILITY_NAMED_IAM --no-fail-on-empty-changeset "${options[@]}" \
    --parameter-overrides "${given[@]}" "${settings[@]}" | tee /dev/stderr); then
    failures "$stack"
    fail "$stack was not changed" "correct the reason above and repeat; delete a stack in ROLLBACK_COMPLETE before: aws cloudformation delete-stack --stack-name $stack"
  fi
  [ "$dry_run" = no ] || show "$stack" "$(grep -o 'arn:[^ ]*:changeSet/[^ ]*' <<<"$output" || true)"
}

show() { # stack, change set (none: nothing changes): print the changes and delete the change set
  [ -n "$2" ] || return 0
  aws cloudformation describe-change-set --change-set-name "$2" --output text --query \
    'Changes[].ResourceChange.[Action, LogicalResourceId, ResourceType, Replacement]'
  aws cloudformation delete-change-set --change-set-name "$2"
  exists "$1" || aws cloudformation delete-stack --stack-name "$1" # the empty one that its first change set made
}

migrate() { # run the migration task to its end
  local cluster=${outputs[ClusterName]} task code reason
  task=$(aws ecs run-task --cluster "$cluster" --task-definition "${outputs[MigrationTask]}" --launch-type FARGATE \
    --network-configuration "awsvpcConfiguration={subnets=[${outputs[PrivateSubnets]}],securityGroups=[${outputs[TasksSecurityGroup]}],assignPublicIp=DISABLED}" \
    --query '[tasks[0].taskArn, failures[0].reason]' --output text)
  read -r task reason <<<"$task"
  [ "$task" != None ] || fail "the migration could not be started: $reason" "the service is unchanged; repeat the deployment"
  echo "journal: migration task ${task##*/} runs" >&2
  aws ecs wait tasks-stopped --cluster "$cluster" --tasks "$task" ||
    fail "the migration of the journal has not ended within 10 minutes" "the service is unchanged; see the task's log in ${outputs[LogGroup]}"
  aws logs get-log-events --log-group-name "${outputs[LogGroup]}" --log-stream-name "migration/migration/${task##*/}" \
    --start-from-head --query 'events[].[message]' --output text >&2 || true # a task that never started has no log
  read -r code reason <<<"$(aws ecs describe-tasks --cluster "$cluster" --tasks "$task" \
    --query 'tasks[0].[containers[0].exitCode, stoppedReason]' --output text)"
  [ "$code" = 0 ] || fail "the migration of the journal ended with $code: $reason" "the service is unchanged; its log is above and in ${outputs[LogGroup]}"
  echo "journal: up to date" >&2
}

check_subscribers() { # a mail address counts once its owner has confirmed it
  local confirmed
  confirmed=$(aws sns list-subscriptions-by-topic --topic-arn "${outputs[AlarmTopic]}" --output text \
    --query 'length(Subscriptions[?starts_with(SubscriptionArn, `arn:`)])')
  [ "$confirmed" != 0 ] || echo "nobody receives the alarms: deploy/aws/deploy.sh up $environment AlarmEmail=ADDRESS, then confirm the mail" >&2
}

foundation() {
  outputs[Repository]=$1
  check_settings foundation.yaml
  change batchyield-foundation foundation
  [ "$dry_run" = no ] || return 0
  load batchyield-foundation
  for name in "${!outputs[@]}"; do echo "$name=${outputs[$name]}"; done | sort
}

up() {
  local part parts=(network data platform)
  check_settings network.yaml data.yaml platform.yaml service.yaml
  load batchyield-foundation
  ! exists "$(stack_of service)" || parts+=(service)
  for part in "${parts[@]}"; do
    change "$(stack_of "$part")" "$part"
    if [ "$dry_run" = yes ] && ! exists "$(stack_of "$part")"; then
      echo "the stacks that need its outputs can be shown once it exists" >&2
      return
    fi
    load "$(stack_of "$part")"
  done
  echo "Address=${outputs[Address]}"
  echo "DeployRole=${outputs[DeployRole]}"
  check_subscribers
}

deploy() {
  local version=${1:-} digest part
  version=${version#yield-model@}
  version=${version#v}
  if [[ $version != [0-9]* ]]; then
    local name=${version:-$environment}
    version=$(batchyield release show "$name" | sed -n 's/^version=//p') ||
      fail "no version is in environment $name" "make promote ENVIRONMENT=$name, or name a version"
  fi
  check_settings migration.yaml service.yaml
  for part in network data platform; do load "$(stack_of "$part")" "deploy/aws/deploy.sh up $environment creates it"; done
  load batchyield-foundation
  digest=$(aws ecr describe-images --repository-name batchyield --image-ids "imageTag=$version" \
    --query 'imageDetails[0].imageDigest' --output text) ||
    fail "there is no image batchyield:$version" "the release workflow pushes it; by hand: make image VERSION=$version, docker push"
  outputs[Version]=$version
  outputs[Image]=${outputs[ImagesUri]}@$digest
  change "$(stack_of migration)" migration
  if [ "$dry_run" = no ]; then
    load "$(stack_of migration)"
    migrate
  fi
  change "$(stack_of service)" service
  [ "$dry_run" = yes ] || echo "$environment serves $version"
}

keys() {
  [ "$(batchyield keys list --file "$1" --json)" != "[]" ] || fail "$1 holds no key" "batchyield keys add NAME --scope predict --file $1"
  load "$(stack_of data)"
  aws secretsmanager put-secret-value --secret-id "${outputs[KeysSecret]}" --secret-string "file://$1" >/dev/null
  exists "$(stack_of service)" || return 0
  load "$(stack_of platform)"
  load "$(stack_of service)"
  aws ecs update-service --cluster "${outputs[ClusterName]}" --service "${outputs[ServiceName]}" \
    --force-new-deployment >/dev/null
  echo "new tasks with these keys replace the running ones" >&2
}

status() {
  local running wanted rollout
  load "$(stack_of platform)"
  exists "$(stack_of service)" || fail "nothing is deployed to $environment yet" "deploy/aws/deploy.sh deploy $environment VERSION" 1
  load "$(stack_of service)"
  read -r running wanted rollout <<<"$(aws ecs describe-services --cluster "${outputs[ClusterName]}" \
    --services "${outputs[ServiceName]}" --output text \
    --query 'services[0].[runningCount, desiredCount, deployments[0].rolloutState]')"
  echo "$environment: version ${outputs[Serving]}, $running of $wanted tasks, rollout $rollout, at https://${outputs[Address]}"
  check_subscribers
  [ "$running" -ge "$wanted" ]
}

declare -A outputs
settings=() words=() dry_run=no
for word in "$@"; do
  case $word in
    -h | --help) usage; exit ;;
    --dry-run) dry_run=yes ;;
    -*) fail "unknown option $word" "deploy/aws/deploy.sh --help lists them" ;;
    [A-Z]*=*) settings+=("$word") ;;
    *) words+=("$word") ;;
  esac
done
set -- "${words[@]}"
command -v aws >/dev/null || fail "the AWS CLI is not on PATH" "install it, or: make aws-cli && PATH=.cache/awscli/bin:\$PATH"
case "${1:-} $#" in
  "foundation 2") foundation "$2" ;;
  "up 2" | "deploy 2" | "deploy 3" | "keys 3" | "status 2")
    environment=$2
    [[ $environment =~ ^[a-z][a-z0-9-]{0,15}$ ]] || fail "invalid environment '$environment'" "lower-case letters, digits and -, at most 16"
    outputs[Environment]=$environment
    "$1" "${@:3}"
    ;;
  *) usage >&2; exit 2 ;;
esac
