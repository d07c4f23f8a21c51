//! One call to a shard's pod. IO.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use shoal_crds::labels;
use shoal_proto::auth::Token;
use shoal_proto::pb::shard_service_client::ShardServiceClient;
use shoal_proto::pb::{InfoRequest, ReplicaRequest, Target};
use shoal_proto::version::{self, Stamped};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

use crate::samples::Sample;
use crate::told::Answer;

/// How long a shard may take to answer; of one that does not, what it said last stays.
const PATIENCE: Duration = Duration::from_secs(3);

type Shards = ShardServiceClient<InterceptedService<Channel, Token>>;

/// Where a pod answers.
pub(super) fn address(pod: &Pod) -> Option<String> {
    let ip = pod.status.as_ref()?.pod_ip.as_deref()?;
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    Some(format!("http://{host}:{}", labels::GRPC_PORT))
}

/// How large a shard is.
pub(super) async fn size(address: &str, target: &Target, token: Token) -> Result<Sample, String> {
    let client = dial(address, token).await?;
    let request = InfoRequest { target: Some(target.clone()) };
    let call = |request| {
        let mut client = client.clone();
        async move { client.info(request).await }
    };
    let info = in_common_version(request, call).await.map_err(|status| status.to_string())?;
    Ok(Sample::of(info.points, info.disk_bytes))
}

/// What a replica is to its shard.
pub(super) async fn replica(
    address: &str,
    target: &Target,
    token: Token,
) -> Result<Answer, String> {
    let client = dial(address, token).await?;
    let request = ReplicaRequest { target: Some(target.clone()) };
    let call = |request| {
        let mut client = client.clone();
        async move { client.replica(request).await }
    };
    match in_common_version(request, call).await {
        Ok(said) => Ok(Answer::Said(Box::new(said))),
        Err(status) if status.code() == Code::Unimplemented => Ok(Answer::Mute),
        Err(status) => Err(status.to_string()),
    }
}

async fn dial(address: &str, token: Token) -> Result<Shards, String> {
    let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|error| error.to_string())?;
    let channel = endpoint.connect_timeout(PATIENCE).timeout(PATIENCE).connect().await;
    let channel = channel.map_err(|error| error.to_string())?;
    Ok(ShardServiceClient::with_interceptor(channel, token))
}

/// Asks again in a version that both know: a pod may run an older image than the operator's.
async fn in_common_version<Q: Stamped, A, Fut>(
    request: Q,
    call: impl Fn(Q) -> Fut,
) -> Result<A, Status>
where
    Fut: Future<Output = Result<Response<A>, Status>>,
{
    let mut answer = call(request.clone()).await;
    if let Some(other) = answer.as_ref().err().and_then(|refusal| version::HERE.common(refusal)) {
        answer = call(request.in_version(other)).await;
    }
    answer.map(Response::into_inner)
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
