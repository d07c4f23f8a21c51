//! From "this object changed" to "reconcile that": the queues of the two controllers.
//!
//! Invariant: nothing is queued before [`Triggers::arm`] ran, which queues everything once the stores are full; so no
//! reconcile ever sees half of what exists. No change is missed: a watch that had to list anew, and so cannot tell what
//! went meanwhile, queues everything too.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use futures::SinkExt;
use futures::channel::mpsc;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::ReconcileRequest;
use kube::runtime::reflector::{ObjectRef, Store};
use shoal_crds::VectorCollection;

use crate::collection::nodes::NodeIs;

/// Room in each queue. A full queue holds back the watch that feeds it, which loses nothing.
const QUEUE: usize = 1024;

/// What a change concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touch {
    /// One collection.
    Collection {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Every collection of a namespace.
    CollectionsOf(String),
    /// A namespace's router and what goes with it.
    Namespace(String),
    /// A node, which concerns every collection; but only where it is not what it was.
    Node {
        /// Its name.
        name: String,
        /// How it is.
        is: NodeIs,
    },
}

type CollectionRequest = ReconcileRequest<VectorCollection>;
type NamespaceRequest = ReconcileRequest<PartialObjectMeta<Namespace>>;

/// Feeds the controllers' queues.
#[derive(Debug)]
pub struct Triggers {
    collections: mpsc::Sender<CollectionRequest>,
    namespaces: mpsc::Sender<NamespaceRequest>,
    known_collections: Store<VectorCollection>,
    known_namespaces: Store<PartialObjectMeta<Namespace>>,
    nodes: Mutex<HashMap<String, NodeIs>>,
    armed: AtomicBool,
}

/// The other ends of the queues.
pub struct Queues {
    /// Collections to reconcile.
    pub collections: mpsc::Receiver<CollectionRequest>,
    /// Namespaces to reconcile.
    pub namespaces: mpsc::Receiver<NamespaceRequest>,
}

impl Triggers {
    /// Triggers that know these collections and namespaces, and their queues.
    pub fn new(
        known_collections: Store<VectorCollection>,
        known_namespaces: Store<PartialObjectMeta<Namespace>>,
    ) -> (Self, Queues) {
        let (collections, collection_queue) = mpsc::channel(QUEUE);
        let (namespaces, namespace_queue) = mpsc::channel(QUEUE);
        let armed = AtomicBool::new(false);
        let nodes = Mutex::default();
        let triggers =
            Self { collections, namespaces, known_collections, known_namespaces, nodes, armed };
        (triggers, Queues { collections: collection_queue, namespaces: namespace_queue })
    }

    /// Queues everything that exists, and from now on what changes. Call it once all stores are full.
    pub async fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
        self.touch_everything().await;
    }

    /// Queues everything that exists: for changes that nobody can name.
    pub async fn touch_everything(&self) {
        for namespace in self.known_namespaces.state() {
            self.touch(Touch::Namespace(namespace.name_any())).await;
        }
        self.touch_collections().await;
    }

    async fn touch_collections(&self) {
        for collection in self.known_collections.state() {
            let namespace = collection.namespace().unwrap_or_default();
            if self.armed.load(Ordering::SeqCst) {
                self.queue_collection(&namespace, &collection.name_any()).await;
            }
        }
    }

    /// Queues what a change concerns.
    pub async fn touch(&self, touch: Touch) {
        if !self.armed.load(Ordering::SeqCst) {
            return;
        }
        match touch {
            Touch::Collection { namespace, name } => self.queue_collection(&namespace, &name).await,
            Touch::CollectionsOf(namespace) => {
                for collection in self.known_collections.state() {
                    if collection.namespace().as_deref() == Some(namespace.as_str()) {
                        self.queue_collection(&namespace, &collection.name_any()).await;
                    }
                }
            }
            Touch::Node { name, is } => {
                if self.is_news(name, is) {
                    self.touch_collections().await;
                }
            }
            Touch::Namespace(namespace) => {
                // An error means that the controller ended, and with it the process.
                let _ = self.namespaces.clone().send(ObjectRef::new(&namespace).into()).await;
            }
        }
    }

    /// Nodes report every few minutes; what matters is whether they are ready.
    fn is_news(&self, name: String, is: NodeIs) -> bool {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        match is {
            NodeIs::Gone => nodes.remove(&name).is_none_or(|before| before != is),
            _ => nodes.insert(name, is) != Some(is),
        }
    }

    async fn queue_collection(&self, namespace: &str, name: &str) {
        let request = ObjectRef::new(name).within(namespace).into();
        let _ = self.collections.clone().send(request).await;
    }
}
