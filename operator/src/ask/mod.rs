//! Asks shards for their size, once a minute. IO.
//!
//! Invariant: a round's answers take effect together, so a collection's status is written at most once a round.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{Api, Client, ResourceExt};
use shoal_crds::{Shard, labels};
use shoal_proto::auth::Token;
use shoal_proto::pb::shard_service_client::ShardServiceClient;
use shoal_proto::pb::{Consistency, InfoRequest, Target};
use shoal_proto::version::{self, Stamped};
use tonic::transport::Endpoint;

use crate::collection::pods;
use crate::collection::replicas::{Register, Replicas};
use crate::context::Context;
use crate::kubernetes::stores::find;
use crate::kubernetes::triggers::Touch;
use crate::samples::{Key, Sample};

/// Shards asked at the same time.
const AT_ONCE: usize = 16;
/// How long a shard may take to answer; one that does not keeps its last sample.
const PATIENCE: Duration = Duration::from_secs(3);

/// A shard that can be asked.
struct Question {
    key: Key,
    address: String,
    target: Target,
    collection: String,
}

/// Tokens by namespace, with the version of the Secret they were read from.
#[derive(Default)]
struct Tokens(HashMap<String, (Option<String>, Token)>);

/// Asks for ever.
pub async fn ask_for_ever(context: Arc<Context>, client: Client) {
    let mut tokens = Tokens::default();
    let mut rounds =
        tokio::time::interval(Duration::from_secs(context.settings.sample_seconds.max(1)));
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        round(&context, &client, &mut tokens).await;
    }
}

async fn round(context: &Context, client: &Client, tokens: &mut Tokens) {
    let shards = context.stores.shards.state();
    let mut asked = Vec::new();
    for shard in &shards {
        let Some(question) = question(context, shard) else { continue };
        match tokens.of(context, client, &question.key.0).await {
            Ok(token) => asked.push((question, token)),
            Err(error) => {
                tracing::debug!(namespace = question.key.0, error, "no token to ask shards with")
            }
        }
    }
    let answers: Vec<_> = futures::stream::iter(asked)
        .map(|(question, token)| async move { (ask(&question, token).await, question) })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut changed = BTreeSet::new();
    for (answer, question) in answers {
        match answer {
            Ok(sample) if context.samples.set(question.key.clone(), sample) => {
                changed.insert((question.key.0, question.collection));
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(shard = question.key.1, error, "a shard did not tell its size")
            }
        }
    }
    let exist: BTreeSet<Key> = shards
        .iter()
        .map(|shard| (shard.namespace().unwrap_or_default(), shard.name_any()))
        .collect();
    context.samples.keep(|key| exist.contains(key));
    for (namespace, name) in changed {
        context.triggers.touch(Touch::Collection { namespace, name }).await;
    }
}

/// What to ask a shard, if a pod of it serves.
fn question(context: &Context, shard: &Shard) -> Option<Question> {
    let (namespace, name) = (shard.namespace()?, shard.name_any());
    let collection = find(&context.stores.collections, &namespace, &shard.spec.collection)?;
    // The primary, which knows best, or else whoever serves.
    let mut replicas = Register::of(Some(shard)).rolling_order(&Replicas::of(shard).numbers);
    replicas.reverse();
    let pod = |number: u32| {
        let pod_name = pods::pod_name(&labels::replica_name(&name, number));
        find(&context.stores.pods, &namespace, &pod_name).filter(|pod| pods::is_ready(pod))
    };
    let pod = replicas.into_iter().find_map(pod)?;
    let target = Target {
        version: version::HERE.newest,
        collection: collection.client_name().to_owned(),
        shard: name.clone(),
        r#gen: u64::try_from(shard.spec.placement.generation).unwrap_or_default(),
        consistency: Consistency::Any.into(),
        min_seq: 0,
    };
    let address = address(&pod)?;
    Some(Question {
        key: (namespace, name),
        address,
        target,
        collection: shard.spec.collection.clone(),
    })
}

fn address(pod: &Pod) -> Option<String> {
    let ip = pod.status.as_ref()?.pod_ip.as_deref()?;
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    Some(format!("http://{host}:{}", labels::GRPC_PORT))
}

async fn ask(question: &Question, token: Token) -> Result<Sample, String> {
    let endpoint =
        Endpoint::from_shared(question.address.clone()).map_err(|error| error.to_string())?;
    let channel = endpoint
        .connect_timeout(PATIENCE)
        .timeout(PATIENCE)
        .connect()
        .await
        .map_err(|error| error.to_string())?;
    let mut client = ShardServiceClient::with_interceptor(channel, token);
    let request = InfoRequest { target: Some(question.target.clone()) };
    let mut answer = client.info(request.clone()).await;
    // Its pod may run an older image than the operator's.
    if let Some(other) = answer.as_ref().err().and_then(|refusal| version::HERE.common(refusal)) {
        answer = client.info(request.in_version(other)).await;
    }
    let info = answer.map_err(|status| status.to_string())?.into_inner();
    Ok(Sample::of(info.points, info.disk_bytes))
}

impl Tokens {
    /// The namespace's token, read again only when its Secret changed.
    async fn of(
        &mut self,
        context: &Context,
        client: &Client,
        namespace: &str,
    ) -> Result<Token, String> {
        let name = labels::INTERNAL_TOKEN_SECRET;
        let secret =
            find(&context.stores.token_secrets, namespace, name).ok_or("there is no Secret yet")?;
        let version = secret.resource_version();
        if let Some((known, token)) = self.0.get(namespace)
            && *known == version
        {
            return Ok(token.clone());
        }
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let secret = secrets.get(name).await.map_err(|error| error.to_string())?;
        let bytes = secret
            .data
            .and_then(|mut data| data.remove(labels::INTERNAL_TOKEN))
            .unwrap_or_default();
        let text = String::from_utf8(bytes.0).map_err(|error| error.to_string())?;
        let token = Token::parse(&text).map_err(|error| error.to_string())?;
        self.0.insert(namespace.to_owned(), (version, token.clone()));
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PodStatus;

    use super::*;

    #[test]
    fn addresses_of_both_families_can_be_dialled() {
        let pod = |ip: &str| Pod {
            status: Some(PodStatus { pod_ip: Some(ip.into()), ..PodStatus::default() }),
            ..Pod::default()
        };
        assert_eq!(address(&pod("10.0.0.7")).as_deref(), Some("http://10.0.0.7:6335"));
        assert_eq!(address(&pod("fd00::7")).as_deref(), Some("http://[fd00::7]:6335"));
        assert_eq!(address(&Pod::default()), None);
    }
}
