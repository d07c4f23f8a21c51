//! Connections to other replicas.

use std::time::Duration;

use shoal_proto::MAX_MESSAGE_BYTES;
use shoal_proto::pb::replica_service_client::ReplicaServiceClient;
use tonic::Status;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

use crate::token::SharedToken;

/// How long a connection may take, looking the host up and all. A millisecond inside a cluster; a second is a node that is
/// gone.
const CONNECT: Duration = Duration::from_secs(1);
/// How often a connection is asked whether it lives, and how long it may take to say so. A connection whose other end
/// vanished, or was cut off for a while, goes on at most both after it could: less than an election takes.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(2));

/// A connection to a replica.
pub(super) type Client = ReplicaServiceClient<InterceptedService<Channel, SharedToken>>;

/// Connects to the replica at `HOST:PORT`.
pub(super) async fn connect(address: &str, token: SharedToken) -> Result<Client, Status> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| Status::invalid_argument(format!("`{address}` is no address: {error}")))?
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE.0)
        .keep_alive_timeout(KEEP_ALIVE.1)
        .keep_alive_while_idle(true);
    let connected = tokio::time::timeout(CONNECT, endpoint.connect()).await;
    let channel = match connected {
        Ok(channel) => channel.map_err(|error| Status::from_error(Box::new(error)))?,
        Err(_) => return Err(Status::unavailable(format!("no connection after {CONNECT:?}"))),
    };
    Ok(ReplicaServiceClient::with_interceptor(channel, token)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES))
}
