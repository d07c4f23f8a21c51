//! Asks shards for their size, once a minute, and replicas what they are: then too, and every other second while something
//! changes. IO.
//!
//! Invariant: a round's answers take effect together, so a collection's status is written at most once a round.

mod call;
mod tokens;
mod urgent;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::{Client, ResourceExt};
use shoal_crds::{Shard, VectorCollection, duration, labels};
use shoal_proto::auth::Token;
use shoal_proto::pb::{Consistency, Target};
use shoal_proto::version;
use tokio::time::MissedTickBehavior;

use self::tokens::Tokens;
use self::urgent::{Mark, Marks};
use crate::collection::pods;
use crate::collection::replicas::{Register, Replicas};
use crate::context::Context;
use crate::env;
use crate::kubernetes::stores::find;
use crate::kubernetes::triggers::Touch;
use crate::samples::{Key, Sample};
use crate::told::{self, Answer, Taking};

/// Pods asked at the same time.
const AT_ONCE: usize = 16;
/// The default of `replication.visibilitySla`, for a spec that says something else than a time.
const SLA: Duration = Duration::from_secs(2);
/// How often shards are asked in which something changes.
const URGENT: Duration = Duration::from_secs(2);

/// What is asked.
#[derive(Clone, Copy)]
enum What {
    Size,
    /// What the replica of this number is.
    Replica(u32),
}

/// A pod that can be asked.
struct Question {
    key: Key,
    what: What,
    address: String,
    target: Target,
}

/// What came back.
enum Came {
    Size(Sample),
    Replica(u32, Answer),
}

/// Asks for ever.
pub async fn ask_for_ever(context: Arc<Context>, client: Client) {
    let (mut tokens, mut marks) = (Tokens::default(), Marks::default());
    let round = Duration::from_secs(context.settings.sample_seconds.max(1));
    let (mut rounds, mut urgent) = (tokio::time::interval(round), tokio::time::interval(URGENT));
    for interval in [&mut rounds, &mut urgent] {
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    loop {
        let hurried = tokio::select! {
            biased;
            _ = rounds.tick() => false,
            _ = urgent.tick() => true,
        };
        ask_round(&context, &client, &mut tokens, &mut marks, hurried).await;
    }
}

async fn ask_round(
    context: &Context,
    client: &Client,
    tokens: &mut Tokens,
    marks: &mut Marks,
    hurried: bool,
) {
    let shards = context.stores.shards.state();
    let mut asked = Vec::new();
    for shard in &shards {
        let Some(about) = About::of(context, shard) else { continue };
        if !about.is_urgent(context, marks) && hurried {
            continue;
        }
        let token = match tokens.of(context, client, &about.key.0).await {
            Ok(token) => token,
            Err(error) => {
                tracing::debug!(namespace = about.key.0, error, "no token to ask shards with");
                continue;
            }
        };
        let size = (!hurried).then(|| about.size(context)).flatten();
        let questions = size.into_iter().chain(about.replicas(context));
        asked.extend(questions.map(|question| (question, token.clone())));
    }
    let answers: Vec<_> = futures::stream::iter(asked)
        .map(|(question, token)| async move { (ask(&question, token).await, question.key) })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut sizes = BTreeMap::new();
    let mut replicas: BTreeMap<Key, BTreeMap<u32, Answer>> = BTreeMap::new();
    for (came, key) in answers {
        match came {
            Ok(Came::Size(sample)) => drop(sizes.insert(key, sample)),
            Ok(Came::Replica(number, answer)) => {
                replicas.entry(key).or_default().insert(number, answer);
            }
            Err(error) => tracing::debug!(shard = key.1, error, "a pod did not answer"),
        }
    }
    let mut changed = BTreeSet::new();
    for shard in &shards {
        let Some(about) = About::of(context, shard) else { continue };
        if let Some(size) = sizes.remove(&about.key)
            && context.samples.set(about.key.clone(), size)
        {
            changed.insert((about.key.0.clone(), shard.spec.collection.clone()));
        }
        // Where none answers, what was known stays.
        if let Some(answers) = replicas.remove(&about.key) {
            let before = context.heard.get(&about.key.0, &about.key.1);
            let told =
                told::digest(&answers, &about.register.disks(), &before, about.taking(hurried));
            if context.heard.set(about.key.clone(), told) {
                changed.insert((about.key.0.clone(), shard.spec.collection.clone()));
            }
        }
    }
    forget(context, marks, &shards);
    for (namespace, name) in changed {
        context.triggers.touch(Touch::Collection { namespace, name }).await;
    }
}

fn forget(context: &Context, marks: &mut Marks, shards: &[Arc<Shard>]) {
    let exist: BTreeSet<Key> = shards
        .iter()
        .map(|shard| (shard.namespace().unwrap_or_default(), shard.name_any()))
        .collect();
    context.samples.keep(|key| exist.contains(key));
    context.heard.keep(|key| exist.contains(key));
    marks.keep(|key| exist.contains(key));
}

/// A shard whose pods may be asked.
struct About<'a> {
    key: Key,
    shard: &'a Shard,
    collection: Arc<VectorCollection>,
    replicas: Replicas,
    register: Register<'a>,
}

impl<'a> About<'a> {
    fn of(context: &Context, shard: &'a Shard) -> Option<Self> {
        let (namespace, name) = (shard.namespace()?, shard.name_any());
        let collection = find(&context.stores.collections, &namespace, &shard.spec.collection)?;
        let (replicas, register) = (Replicas::of(shard), Register::of(Some(shard)));
        Some(Self { key: (namespace, name), shard, collection, replicas, register })
    }

    fn pod(&self, context: &Context, number: u32) -> Option<Arc<k8s_openapi::api::core::v1::Pod>> {
        let (namespace, name) = &self.key;
        let pod = pods::pod_name(&labels::replica_name(name, number));
        find(&context.stores.pods, namespace, &pod)
    }

    fn is_urgent(&self, context: &Context, marks: &mut Marks) -> bool {
        if !self.replicas.is_replicated() {
            return false;
        }
        let ready = self.replicas.numbers.iter().filter_map(|&number| self.pod(context, number));
        let ready = ready.filter(|pod| pods::is_ready(pod)).filter_map(|pod| pod.uid());
        let status = self.shard.status.as_ref();
        let register = status.and_then(|status| status.register.clone());
        let told = context.heard.get(&self.key.0, &self.key.1);
        let mark = Mark { register, ready: ready.collect() };
        marks.is_urgent(&self.key, mark, &told, env::instant())
    }

    fn taking(&self, hurried: bool) -> Taking {
        let sla = duration::parse(self.collection.visibility_sla()).unwrap_or(SLA);
        let sla_ms = u64::try_from(sla.as_millis()).unwrap_or(u64::MAX);
        Taking { hurried, sla_ms }
    }

    /// The primary, which knows best, or else whoever serves, is asked for the shard's size.
    fn size(&self, context: &Context) -> Option<Question> {
        let mut order = self.register.rolling_order(&self.replicas.numbers);
        order.reverse();
        let pods = order.into_iter().filter_map(|number| self.pod(context, number));
        let pod = pods.into_iter().find(|pod| pods::is_ready(pod))?;
        Some(self.question(What::Size, call::address(&pod)?))
    }

    /// Each of several replicas is asked what it is, also one that does not serve: it may say why.
    fn replicas(&self, context: &Context) -> Vec<Question> {
        let several = self.replicas.numbers.iter().filter(|_| self.replicas.is_replicated());
        let question = |&number: &u32| {
            let pod = self.pod(context, number)?;
            Some(self.question(What::Replica(number), call::address(&pod)?))
        };
        several.filter_map(question).collect()
    }

    fn question(&self, what: What, address: String) -> Question {
        let generation = self.shard.spec.placement.generation;
        let target = Target {
            version: version::HERE.newest,
            collection: self.collection.client_name().to_owned(),
            shard: self.key.1.clone(),
            r#gen: u64::try_from(generation).unwrap_or_default(),
            consistency: Consistency::Any.into(),
            ..Target::default()
        };
        Question { key: self.key.clone(), what, address, target }
    }
}

async fn ask(question: &Question, token: Token) -> Result<Came, String> {
    let Question { what, address, target, .. } = question;
    match what {
        What::Size => call::size(address, target, token).await.map(Came::Size),
        What::Replica(number) => {
            let answer = call::replica(address, target, token).await?;
            Ok(Came::Replica(*number, answer))
        }
    }
}
