//! A register and announcements as they are written down: in a file and in an object alike.
//!
//! Invariant: what is read is what was written, or an error that names the part.

use shoal_consensus::{
    DiskId, Epoch, Identity, Incarnation, Members, MembersError, Phase, Register,
};
use shoal_crds::shard::{
    RegisterMembers, RegisterPhase, RegisterPrimary, ShardRegister, ShardReplica,
};
use uuid::Uuid;

use super::Announced;

/// Why a register is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TextError {
    /// A number is none.
    #[error("`{text}` is no {what}")]
    Number {
        /// Which number.
        what: &'static str,
        /// What is there instead.
        text: String,
    },
    /// The members could not agree on anything.
    #[error("members: {0}")]
    Members(#[from] MembersError),
    /// The phase says one thing and the primary another.
    #[error("phase {0:?} does not go with what it says about the primary")]
    Phase(RegisterPhase),
}

/// A register as it is written down.
pub(super) fn from_register(register: &Register) -> ShardRegister {
    let Register { epoch, members, .. } = register;
    let primary = register.primary().map(|primary| RegisterPrimary {
        disk_id: disk(primary.disk),
        incarnation: hex(primary.incarnation.0),
    });
    ShardRegister {
        epoch: epoch.number.to_string(),
        nonce: hex(epoch.nonce),
        phase: match register.phase {
            Phase::Electing => RegisterPhase::Electing,
            Phase::Stable { .. } => RegisterPhase::Stable,
        },
        primary,
        members: RegisterMembers {
            generation: members.generation().to_string(),
            voters: members.voters().iter().copied().map(disk).collect(),
            write_quorum: u32::try_from(members.write_quorum()).unwrap_or(u32::MAX),
        },
    }
}

/// The register that was written down.
pub(super) fn to_register(text: &ShardRegister) -> Result<Register, TextError> {
    let number = decimal("epoch", &text.epoch)?;
    let epoch = Epoch { number, nonce: from_hex("nonce", &text.nonce)? };
    let phase = match (text.phase, &text.primary) {
        (RegisterPhase::Electing, None) => Phase::Electing,
        (RegisterPhase::Stable, Some(primary)) => Phase::Stable {
            primary: Identity {
                disk: from_disk(&primary.disk_id)?,
                incarnation: Incarnation(from_hex("incarnation", &primary.incarnation)?),
            },
        },
        (phase, _) => return Err(TextError::Phase(phase)),
    };
    let members = &text.members;
    let generation = decimal("generation", &members.generation)?;
    let voters: Result<Vec<_>, _> = members.voters.iter().map(|disk| from_disk(disk)).collect();
    let members = Members::new(generation, voters?, members.write_quorum as usize)?;
    Ok(Register { epoch, phase, members })
}

/// An announcement as it is written down.
pub(super) fn from_announced(announced: &Announced) -> ShardReplica {
    ShardReplica {
        name: announced.name.clone(),
        disk_id: disk(announced.disk),
        address: announced.address.clone(),
        blank: announced.blank,
    }
}

/// The announcement that was written down.
pub(super) fn to_announced(text: &ShardReplica) -> Result<Announced, TextError> {
    Ok(Announced {
        name: text.name.clone(),
        disk: from_disk(&text.disk_id)?,
        address: text.address.clone(),
        blank: text.blank,
    })
}

fn disk(disk: DiskId) -> String {
    Uuid::from_u128(disk.0).to_string()
}

fn from_disk(text: &str) -> Result<DiskId, TextError> {
    let number = || TextError::Number { what: "disk id", text: text.to_owned() };
    Uuid::try_parse(text).map(|uuid| DiskId(uuid.as_u128())).map_err(|_| number())
}

fn hex(number: u64) -> String {
    format!("{number:016x}")
}

fn from_hex(what: &'static str, text: &str) -> Result<u64, TextError> {
    let number = || TextError::Number { what, text: text.to_owned() };
    u64::from_str_radix(text, 16).map_err(|_| number())
}

fn decimal(what: &'static str, text: &str) -> Result<u64, TextError> {
    text.parse().map_err(|_| TextError::Number { what, text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn registers()(
            number in any::<u64>(), nonce in any::<u64>(), generation in any::<u64>(),
            voters in prop::collection::btree_set(any::<u128>(), 1..6),
            primary in prop::option::of((any::<u128>(), any::<u64>())),
        ) -> Register {
            let voters = voters.into_iter().map(DiskId).collect();
            let primary = primary.map(|(disk, incarnation)| Identity {
                disk: DiskId(disk),
                incarnation: Incarnation(incarnation),
            });
            Register {
                epoch: Epoch { number, nonce },
                phase: primary.map_or(Phase::Electing, |primary| Phase::Stable { primary }),
                members: Members::majority(generation, voters).unwrap(),
            }
        }
    }

    proptest! {
        #[test]
        fn a_register_comes_back_as_it_was_also_through_json(register in registers()) {
            let text = serde_json::to_string(&from_register(&register)).unwrap();
            let read: ShardRegister = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(to_register(&read), Ok(register));
        }

        #[test]
        fn an_announcement_comes_back_as_it_was(
            name in "[a-z0-9]{1,9}", disk in any::<u128>(), address in ".{0,30}", blank in any::<bool>()
        ) {
            let announced = Announced { name, disk: DiskId(disk), address, blank };
            prop_assert_eq!(to_announced(&from_announced(&announced)), Ok(announced));
        }
    }

    #[test]
    fn what_is_no_register_is_refused_by_its_part() {
        let members = Members::majority(1, vec![DiskId(1), DiskId(2), DiskId(3)]).unwrap();
        let good = from_register(&Register::first(members));
        let refused = |change: fn(&mut ShardRegister)| {
            let mut text = good.clone();
            change(&mut text);
            to_register(&text).unwrap_err().to_string()
        };
        assert_eq!(refused(|r| r.epoch = "-1".to_owned()), "`-1` is no epoch");
        assert_eq!(refused(|r| r.nonce = "x".to_owned()), "`x` is no nonce");
        assert_eq!(refused(|r| r.members.voters[0].clear()), "`` is no disk id");
        assert!(refused(|r| r.members.write_quorum = 1).contains("write quorum"));
        assert!(refused(|r| r.phase = RegisterPhase::Stable).contains("primary"));
    }
}
