//! The rules the API server checks beyond types and bounds, in CEL.
//!
//! They stand at the root or at the spec, never at the items of a list: a rule of an item is not asked when the item is
//! removed and added again. Each message says what to do. Fields that may be absent are compared by what their absence
//! means, so that writing a default out is no change.
//!
//! That disks do not shrink is no rule here: the API server knows what the spec last asked, not what the disks have, and
//! would forbid taking back a growth that was refused. The operator compares with the disks and says so in a condition.

use serde_json::{Value, json};

/// Where in an object a rule stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At the object: the rule sees `self.metadata.name` and `self.spec`.
    Root,
    /// At `spec`.
    Spec,
}

/// One rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    /// Where it stands.
    pub(crate) place: Place,
    /// The field it blames, relative to its place; empty is the place itself.
    pub(crate) field: &'static str,
    /// What must hold, in CEL.
    pub(crate) rule: &'static str,
    /// What a person reads when it does not.
    pub(crate) message: &'static str,
}

impl Rule {
    /// The rule as an entry of `x-kubernetes-validations`.
    pub(crate) fn to_json(self) -> Value {
        let mut json = json!({ "rule": self.rule, "message": self.message });
        if let (false, Some(object)) = (self.field.is_empty(), json.as_object_mut()) {
            object.insert("fieldPath".to_owned(), self.field.into());
        }
        json
    }
}

// A size is a string or a whole number. CEL has a quantity of the one and not of the other, and its cost is only bounded
// where the string is taken as it is, not after a conversion: hence the additions to zero.
macro_rules! has_class {
    ($object:literal) => {
        concat!("(has(", $object, ".storage) && has(", $object, ".storage.storageClassName))")
    };
}
macro_rules! has_size {
    ($object:literal) => {
        concat!("(has(", $object, ".storage) && has(", $object, ".storage.size))")
    };
}
macro_rules! is_size {
    ($object:literal) => {
        concat!(
            "(type(",
            $object,
            ".storage.size) == int || isQuantity(",
            $object,
            ".storage.size))"
        )
    };
}
macro_rules! size {
    ($object:literal) => {
        concat!(
            "(type(",
            $object,
            ".storage.size) == int ? quantity('0').add(int(",
            $object,
            ".storage.size)) : \
             quantity(",
            $object,
            ".storage.size))"
        )
    };
}
/// Whether two vectors have one name; none is the same as an empty one.
macro_rules! same_name {
    ($a:literal, $b:literal) => {
        concat!(
            "(has(",
            $a,
            ".name) && ",
            $a,
            ".name != '' ? has(",
            $b,
            ".name) && ",
            $b,
            ".name == ",
            $a,
            ".name : !has(",
            $b,
            ".name) || ",
            $b,
            ".name == '')"
        )
    };
}

/// Rules of a VectorCollection.
pub(crate) const VECTOR_COLLECTION: &[Rule] = &[
    Rule {
        place: Place::Root,
        field: "",
        rule: "self.metadata.name.size() <= 40",
        message: "metadata.name is longer than 40 characters, and pod names are built from it: use a shorter one; \
                  clients can be given a longer name in spec.name",
    },
    Rule {
        place: Place::Root,
        field: "",
        rule: "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        message: "metadata.name names Services and pods: begin it with a letter and use only a-z, 0-9 and `-`; clients \
                  can be given any other name in spec.name",
    },
    Rule {
        place: Place::Root,
        field: ".spec.name",
        rule: "(has(self.spec.name) ? self.spec.name : self.metadata.name) == \
               (has(oldSelf.spec.name) ? oldSelf.spec.name : oldSelf.metadata.name)",
        message: "spec.name cannot change, as clients and disks know the collection by it: make a new collection and \
                  load the points into it",
    },
    Rule {
        place: Place::Spec,
        field: ".name",
        rule: "!has(self.name) || !self.name.contains('/')",
        message: "spec.name is part of clients' URLs: leave `/` out",
    },
    Rule {
        place: Place::Spec,
        field: ".vectors",
        // Names are compared as they are: CEL's cost is only bounded where a text is no result of anything.
        rule: concat!(
            "self.vectors.all(v, self.vectors.exists_one(o, ",
            same_name!("v", "o"),
            "))"
        ),
        message: "two vectors have one name: give each another, of which one may be left out",
    },
    Rule {
        place: Place::Spec,
        field: ".vectors",
        rule: concat!(
            "oldSelf.vectors.all(o, self.vectors.exists(v, ",
            same_name!("o", "v"),
            " && o.size == v.size && o.distance == v.distance && (has(o.datatype) && o.datatype == 'Float16') == \
             (has(v.datatype) && v.datatype == 'Float16')))"
        ),
        message: "the name, size, distance and datatype of vectors cannot change, nor can a vector be removed, as stored \
                  points have it: make a new collection and load the points into it",
    },
    Rule {
        place: Place::Spec,
        field: ".vectors",
        rule: "self.vectors.size() <= oldSelf.vectors.size()",
        message: "a vector cannot be added yet, as the disks were set up without it: make a new collection that has it \
                  and load the points into it",
    },
    Rule {
        place: Place::Spec,
        field: ".sparseVectors",
        rule: "!has(self.sparseVectors) || self.sparseVectors.all(s, self.sparseVectors.exists_one(o, o.name == s.name) && \
               !self.vectors.exists(v, has(v.name) && v.name == s.name))",
        message: "two vectors have one name: give each sparse vector a name that no other vector has",
    },
    Rule {
        place: Place::Spec,
        field: ".sparseVectors",
        rule: "(has(self.sparseVectors) ? self.sparseVectors.size() : 0) == \
               (has(oldSelf.sparseVectors) ? oldSelf.sparseVectors.size() : 0) && (!has(oldSelf.sparseVectors) || \
               oldSelf.sparseVectors.all(o, self.sparseVectors.exists(s, s.name == o.name)))",
        message: "a sparse vector can be neither added, removed nor renamed, as the disks were set up as they are: make a \
                  new collection and load the points into it",
    },
    Rule {
        place: Place::Spec,
        field: ".payloadIndexes",
        rule: "!has(self.payloadIndexes) || self.payloadIndexes.all(i, !has(i.text) || i.type == 'Text')",
        message: "text says how texts are cut into words, which only an index of type Text does: set that type, or leave \
                  text out",
    },
    Rule {
        place: Place::Spec,
        field: ".replication.replicas",
        rule: "self.?replication.?replicas.orValue(1) in [1, 3, 5]",
        message: "use 1, 3 or 5 replicas: an even number costs more and survives no more",
    },
    Rule {
        place: Place::Spec,
        field: ".failover.budget",
        rule: "!has(self.failover) || !has(self.failover.budget) || (duration(self.failover.budget) >= duration('3s') && \
               duration(self.failover.budget) <= duration('10m'))",
        message: "use a failover budget from 3s to 10m: below that a disk that is merely slow would be taken for a lost one",
    },
    Rule {
        place: Place::Spec,
        field: ".failover.nodeLossGrace",
        rule: "!has(self.failover) || !has(self.failover.nodeLossGrace) || \
               (duration(self.failover.nodeLossGrace) >= duration('1m') && \
               duration(self.failover.nodeLossGrace) <= duration('24h'))",
        message: "use a grace from 1m to 24h: below that a node that merely restarts would have its replicas moved",
    },
    Rule {
        place: Place::Spec,
        field: ".storage.size",
        rule: concat!("!", has_size!("self"), " || ", is_size!("self")),
        message: "spec.storage.size is no quantity: use one such as 10Gi",
    },
    Rule {
        place: Place::Spec,
        field: ".storage.size",
        rule: concat!(
            "!",
            has_size!("self"),
            " || !",
            is_size!("self"),
            " || ",
            size!("self"),
            ".compareTo(quantity('1Mi')) >= 0"
        ),
        message: "spec.storage.size is below 1Mi: give it a unit, as in 10Gi",
    },
    Rule {
        place: Place::Spec,
        field: ".storage.storageClassName",
        rule: concat!(
            has_class!("self"),
            " == ",
            has_class!("oldSelf"),
            " && (!",
            has_class!("self"),
            " || self.storage.storageClassName == oldSelf.storage.storageClassName)"
        ),
        message: "the storage class of existing disks cannot change: make a new collection and load the points into it",
    },
];

/// Rules of a Shard.
pub(crate) const SHARD: &[Rule] = &[
    Rule {
        place: Place::Spec,
        field: ".collection",
        rule: "self.collection == oldSelf.collection",
        message: "a shard stays with its collection: spec.collection cannot change",
    },
    Rule {
        place: Place::Spec,
        field: ".replicated",
        // An operator that does not know the field would start the disk of one that had replicas without its register.
        rule: "self.replicas > 1 || self.?replicated.orValue(false) || \
               (oldSelf.replicas <= 1 && !oldSelf.?replicated.orValue(false))",
        message: "a shard that had several replicas keeps its register: set replicated: true, or upgrade the operator that \
                  wrote this",
    },
    Rule {
        place: Place::Root,
        field: ".status.replicas",
        // What a replica said before it wrote may arrive after what it said then.
        rule: "!has(self.status) || !has(self.status.replicas) || !has(oldSelf.status) || !has(oldSelf.status.replicas) || \
               self.status.replicas.all(r, !r.blank || oldSelf.status.replicas.all(o, \
               o.blank || o.name != r.name || o.diskId != r.diskId))",
        message: "a disk that was not blank is not blank again: it has another diskId once it was wiped",
    },
    Rule {
        place: Place::Spec,
        field: ".replicaNames",
        rule: "!has(self.replicaNames) || \
               self.replicaNames.all(n, self.replicaNames.exists_one(m, m == n))",
        message: "two replicas have one name: leave one of them out",
    },
];
