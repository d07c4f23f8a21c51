//! The token that the operator shows to shards, by namespace. IO.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt};
use shoal_crds::labels;
use shoal_proto::auth::Token;

use crate::context::Context;
use crate::kubernetes::stores::find;

/// Tokens by namespace, with the version of the Secret they were read from.
#[derive(Default)]
pub(super) struct Tokens(HashMap<String, (Option<String>, Token)>);

impl Tokens {
    /// The namespace's token, read again only when its Secret changed.
    pub(super) async fn of(
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
