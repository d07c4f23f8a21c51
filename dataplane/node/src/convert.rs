//! What a shard is asked and answers <-> the messages of the protocol.
//!
//! Invariant: what is converted there and back is equal, and decoding never panics, whatever the peer sent.

use bytes::Bytes;
use shoal_proto::convert::{DecodeError, decode_id, decode_payload, encode_id, encode_payload};
use shoal_proto::pb;
use shoal_shard::api::{
    FilterInfo, FoundPoint, Parts, QuantizationParams, Record, ScrollRequest, SearchRequest,
    ShardInfo, Want, WantPayload, WantVectors,
};
use shoal_shard::{WantedIndexes, decode_filter, decode_index, encode_filter, encode_index};
use shoal_vector::payload::PayloadIndex;
use shoal_vector::{Filter, Hit, SparseVector};

/// What is wanted of points, as a message.
pub fn want_to_pb(want: &Want) -> pb::Want {
    use pb::want_payload::Kind;
    let (kind, keys) = match &want.payload {
        WantPayload::No => (Kind::No, Vec::new()),
        WantPayload::All => (Kind::All, Vec::new()),
        WantPayload::Include(keys) => (Kind::Include, keys.clone()),
        WantPayload::Exclude(keys) => (Kind::Exclude, keys.clone()),
    };
    let (vectors, vector_names) = match &want.vectors {
        WantVectors::No => (false, Vec::new()),
        WantVectors::All => (true, Vec::new()),
        // An empty list of names would say all.
        WantVectors::Named(names) => (!names.is_empty(), names.clone()),
    };
    pb::Want { payload: Some(pb::WantPayload { kind: kind.into(), keys }), vectors, vector_names }
}

/// What is wanted of points, from a message. An absent part is not wanted.
pub fn want_from_pb(want: Option<pb::Want>) -> Result<Want, DecodeError> {
    use pb::want_payload::Kind;
    let Some(want) = want else { return Ok(Want::default()) };
    let payload = match want.payload {
        None => WantPayload::No,
        Some(payload) => match Kind::try_from(payload.kind) {
            Ok(Kind::No) => WantPayload::No,
            Ok(Kind::All) => WantPayload::All,
            Ok(Kind::Include) => WantPayload::Include(payload.keys),
            Ok(Kind::Exclude) => WantPayload::Exclude(payload.keys),
            Err(_) => {
                return Err(DecodeError::Missing(
                    "a kind of payload selection that this version knows",
                ));
            }
        },
    };
    let vectors = match (want.vectors, want.vector_names.is_empty()) {
        (false, _) => WantVectors::No,
        (true, true) => WantVectors::All,
        (true, false) => WantVectors::Named(want.vector_names),
    };
    Ok(Want { payload, vectors })
}

/// A filter, if there is one, as bytes.
pub fn filter_to_pb(filter: Option<&Filter>) -> Option<Bytes> {
    filter.map(|filter| encode_filter(filter).into())
}

/// A filter, if there is one, from bytes.
pub fn filter_from_pb(filter: Option<Bytes>) -> Result<Option<Filter>, DecodeError> {
    let decoded = filter.as_deref().map(decode_filter).transpose();
    decoded.map_err(|error| DecodeError::Filter(error.to_string()))
}

/// A search as a message.
pub fn search_to_pb(target: pb::Target, request: SearchRequest) -> pb::SearchRequest {
    let (vector, sparse) = match request.sparse {
        Some(sparse) => {
            let indices = sparse.indices().to_vec();
            (sparse.values().to_vec(), Some(pb::Indices { indices }))
        }
        None => (request.vector, None),
    };
    pb::SearchRequest {
        target: Some(target),
        filter: filter_to_pb(request.filter.as_ref()),
        want: Some(want_to_pb(&request.want)),
        vector,
        sparse,
        using: request.using,
        k: request.k as u64,
        ef: request.ef.map(|ef| ef as u64),
        exact: request.exact,
        quantization: Some(quantization_to_pb(request.quantization)),
        score_threshold: request.score_threshold,
    }
}

fn quantization_to_pb(params: QuantizationParams) -> pb::QuantizationParams {
    let QuantizationParams { ignore, rescore, oversampling } = params;
    pb::QuantizationParams { ignore, skip_rescore: !rescore, oversampling: Some(oversampling) }
}

fn quantization_from_pb(params: pb::QuantizationParams) -> QuantizationParams {
    let pb::QuantizationParams { ignore, skip_rescore, oversampling } = params;
    QuantizationParams { ignore, rescore: !skip_rescore, oversampling: oversampling.unwrap_or(1.0) }
}

/// A search from a message.
pub fn search_from_pb(request: pb::SearchRequest) -> Result<SearchRequest, DecodeError> {
    let (vector, sparse) = match request.sparse {
        Some(pb::Indices { indices }) => {
            (Vec::new(), Some(sparse_vector(indices, request.vector)?))
        }
        None => (request.vector, None),
    };
    Ok(SearchRequest {
        filter: filter_from_pb(request.filter)?,
        want: want_from_pb(request.want)?,
        vector,
        sparse,
        using: request.using,
        k: size(request.k),
        ef: request.ef.map(size),
        exact: request.exact,
        quantization: request.quantization.map(quantization_from_pb).unwrap_or_default(),
        score_threshold: request.score_threshold,
    })
}

/// A page to read as a message.
pub fn scroll_to_pb(target: pb::Target, request: &ScrollRequest) -> pb::ScrollRequest {
    pb::ScrollRequest {
        target: Some(target),
        filter: filter_to_pb(request.filter.as_ref()),
        from: request.from.map(encode_id),
        limit: request.limit as u64,
        want: Some(want_to_pb(&request.want)),
    }
}

/// A page to read from a message.
pub fn scroll_from_pb(request: pb::ScrollRequest) -> Result<ScrollRequest, DecodeError> {
    Ok(ScrollRequest {
        filter: filter_from_pb(request.filter)?,
        from: request.from.as_deref().map(decode_id).transpose()?,
        limit: size(request.limit),
        want: want_from_pb(request.want)?,
    })
}

/// Points found as a message.
pub fn found_to_pb(found: Vec<FoundPoint>) -> Result<pb::SearchReply, DecodeError> {
    let one = |point: FoundPoint| {
        let parts = Some(parts_to_pb(point.parts)?);
        Ok(pb::Found {
            id: encode_id(point.hit.id),
            score: point.hit.score,
            seq: point.hit.seq,
            parts,
        })
    };
    let found = found.into_iter().map(one).collect::<Result<_, DecodeError>>()?;
    Ok(pb::SearchReply { found, ..pb::SearchReply::default() })
}

/// Points found from a message. A long one is read while another thread drives the network.
pub fn found_from_pb(reply: pb::SearchReply) -> Result<Vec<FoundPoint>, DecodeError> {
    let one = |found: pb::Found| {
        let hit = Hit { id: decode_id(&found.id)?, score: found.score, seq: found.seq };
        Ok(FoundPoint { hit, parts: parts_from_pb(found.parts)? })
    };
    let bytes = reply.found.iter().map(|found| payload_len(found.parts.as_ref())).sum();
    shoal_shard::compute(bytes, || reply.found.into_iter().map(one).collect())
}

/// Points read as a message.
pub fn records_to_pb(records: Vec<Record>) -> Result<pb::RecordsReply, DecodeError> {
    let one = |record: Record| {
        Ok(pb::Record { id: encode_id(record.id), parts: Some(parts_to_pb(record.parts)?) })
    };
    let records = records.into_iter().map(one).collect::<Result<_, DecodeError>>()?;
    Ok(pb::RecordsReply { records, ..pb::RecordsReply::default() })
}

/// Points read from a message. A long one is read while another thread drives the network.
pub fn records_from_pb(reply: pb::RecordsReply) -> Result<Vec<Record>, DecodeError> {
    let one = |record: pb::Record| {
        Ok(Record { id: decode_id(&record.id)?, parts: parts_from_pb(record.parts)? })
    };
    let bytes = reply.records.iter().map(|record| payload_len(record.parts.as_ref())).sum();
    shoal_shard::compute(bytes, || reply.records.into_iter().map(one).collect())
}

fn payload_len(parts: Option<&pb::Parts>) -> usize {
    parts.and_then(|parts| parts.payload.as_ref()).map_or(0, |payload| payload.len())
}

fn sparse_vector(indices: Vec<u32>, values: Vec<f32>) -> Result<SparseVector, DecodeError> {
    SparseVector::new(indices, values).map_err(|error| DecodeError::Sparse(error.to_string()))
}

fn parts_to_pb(parts: Parts) -> Result<pb::Parts, DecodeError> {
    let named = |(name, values)| pb::NamedVector { name, values };
    let named_sparse = |(name, vector): (String, SparseVector)| pb::NamedSparse {
        name,
        indices: vector.indices().to_vec(),
        values: vector.values().to_vec(),
    };
    let sparse = parts.sparse.into_iter().map(named_sparse).collect();
    Ok(pb::Parts {
        payload: parts.payload.as_ref().map(encode_payload).transpose()?,
        vectors: parts.vectors.map(|vectors| pb::Vectors {
            vectors: vectors.into_iter().map(named).collect(),
            sparse,
        }),
    })
}

fn parts_from_pb(parts: Option<pb::Parts>) -> Result<Parts, DecodeError> {
    let parts = parts.unwrap_or_default();
    let named = |vector: pb::NamedVector| (vector.name, vector.values);
    let named_sparse =
        |vector: pb::NamedSparse| Ok((vector.name, sparse_vector(vector.indices, vector.values)?));
    let payload = parts.payload.as_deref().map(decode_payload).transpose()?;
    let Some(vectors) = parts.vectors else { return Ok(Parts { payload, ..Parts::default() }) };
    let sparse =
        vectors.sparse.into_iter().map(named_sparse).collect::<Result<_, DecodeError>>()?;
    let vectors = Some(vectors.vectors.into_iter().map(named).collect());
    Ok(Parts { payload, vectors, sparse })
}

/// A shard's figures as a message.
pub fn info_to_pb(info: &ShardInfo) -> pb::InfoReply {
    pb::InfoReply {
        points: info.points,
        indexed_points: info.indexed_points,
        segments: info.segments,
        disk_bytes: info.disk_bytes,
        last_seq: info.last_seq,
        durable_seq: info.durable_seq,
        applied_seq: info.applied_seq,
        flushed_seq: info.flushed_seq,
        indexed_fields: info.filters.fields.iter().map(indexed_field_to_pb).collect(),
        indexes_pending: info.filters.pending,
    }
}

fn indexed_field_to_pb((index, points): &(PayloadIndex, u64)) -> pb::IndexedField {
    pb::IndexedField { index: encode_index(index).into(), points: *points }
}

/// What a shard is to index, as a message.
pub fn indexes_to_pb(target: pb::Target, wanted: &WantedIndexes) -> pb::SetIndexesRequest {
    pb::SetIndexesRequest {
        target: Some(target),
        owner: wanted.owner.clone(),
        version: wanted.version,
        indexes: wanted.fields.iter().map(|index| encode_index(index).into()).collect(),
    }
}

/// What a shard is to index, from a message. Kinds that a newer version knows are left out: filters work without.
pub fn indexes_from_pb(message: pb::SetIndexesRequest) -> WantedIndexes {
    let fields = message.indexes.iter().filter_map(|index| decode_index(index)).collect();
    WantedIndexes { owner: message.owner, version: message.version, fields }
}

/// A shard's figures from a message.
pub fn info_from_pb(reply: &pb::InfoReply) -> ShardInfo {
    ShardInfo {
        points: reply.points,
        indexed_points: reply.indexed_points,
        segments: reply.segments,
        disk_bytes: reply.disk_bytes,
        last_seq: reply.last_seq,
        durable_seq: reply.durable_seq,
        applied_seq: reply.applied_seq,
        flushed_seq: reply.flushed_seq,
        filters: FilterInfo {
            fields: reply
                .indexed_fields
                .iter()
                .filter_map(|field| Some((decode_index(&field.index)?, field.points)))
                .collect(),
            pending: reply.indexes_pending,
            ..FilterInfo::default()
        },
    }
}

/// A count that arrived as 64 bits; the shard bounds it.
fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use shoal_vector::PointId;
    use shoal_vector::filter::Condition;
    use shoal_vector::payload::IndexKind;

    use super::*;

    fn sparse() -> SparseVector {
        SparseVector::new(vec![3, u32::MAX], vec![0.5, -1.0]).unwrap()
    }

    fn parts() -> Parts {
        Parts {
            payload: Some(serde_json::from_str(r#"{"city":"London","n":[1,{"a":null}]}"#).unwrap()),
            vectors: Some(vec![(String::new(), vec![0.5, -1.0])]),
            sparse: vec![("s".into(), sparse())],
        }
    }

    #[test]
    fn searches_arrive_as_they_were_sent() {
        let names = vec!["".into(), "title".into()];
        for (payload, vectors) in [
            (WantPayload::No, WantVectors::No),
            (WantPayload::All, WantVectors::All),
            (WantPayload::Include(vec!["a.b".into()]), WantVectors::Named(names)),
            (WantPayload::Exclude(vec!["c".into()]), WantVectors::All),
        ] {
            let sent = SearchRequest {
                using: "title".into(),
                vector: vec![1.0, -0.25],
                sparse: None,
                filter: Some(Filter {
                    must: vec![Condition::IsNull("a".into())],
                    ..Filter::default()
                }),
                k: 7,
                ef: Some(99),
                exact: true,
                quantization: QuantizationParams {
                    ignore: true,
                    rescore: false,
                    oversampling: 1.5,
                },
                score_threshold: Some(0.1),
                want: Want { payload, vectors },
            };
            let back = search_from_pb(search_to_pb(pb::Target::default(), sent.clone())).unwrap();
            assert_eq!(format!("{back:?}"), format!("{sent:?}"));
        }
    }

    #[test]
    fn sparse_searches_arrive_as_they_were_sent_and_odd_ones_are_refused() {
        let old = pb::SearchRequest { vector: vec![1.0], k: 3, ..Default::default() };
        let plain = search_from_pb(old.clone()).unwrap();
        assert_eq!(
            plain.quantization,
            QuantizationParams::default(),
            "as who does not know of it asks"
        );
        let sent = SearchRequest { vector: vec![], sparse: Some(sparse()), ..plain };
        let back = search_from_pb(search_to_pb(pb::Target::default(), sent.clone())).unwrap();
        assert_eq!(format!("{back:?}"), format!("{sent:?}"));
        let odd = pb::SearchRequest { sparse: Some(pb::Indices { indices: vec![] }), ..old };
        assert!(matches!(search_from_pb(odd), Err(DecodeError::Sparse(_))));
    }

    #[test]
    fn scrolls_arrive_as_they_were_sent() {
        let sent = ScrollRequest {
            filter: None,
            from: Some(PointId::Num(3)),
            limit: 10,
            want: Want::default(),
        };
        let back = scroll_from_pb(scroll_to_pb(pb::Target::default(), &sent)).unwrap();
        assert_eq!(format!("{back:?}"), format!("{sent:?}"));
    }

    #[test]
    fn answers_arrive_as_they_were_sent() {
        let hit = Hit { id: PointId::Num(1), score: 0.5, seq: 9 };
        let found =
            vec![FoundPoint { hit, parts: parts() }, FoundPoint { hit, parts: Parts::default() }];
        assert_eq!(found_from_pb(found_to_pb(found.clone()).unwrap()), Ok(found));
        let records = vec![Record { id: PointId::Num(u64::MAX), parts: parts() }];
        assert_eq!(records_from_pb(records_to_pb(records.clone()).unwrap()), Ok(records));
        let info = ShardInfo {
            points: 1,
            indexed_points: 2,
            segments: 3,
            disk_bytes: 4,
            filters: FilterInfo { fields: vec![(index(), 5)], pending: 6, ..FilterInfo::default() },
            ..ShardInfo::default()
        };
        assert_eq!(info_from_pb(&info_to_pb(&info)), info);
    }

    fn index() -> PayloadIndex {
        PayloadIndex::new("a.b[]", IndexKind::Datetime).unwrap()
    }

    #[test]
    fn a_list_of_indexes_arrives_as_it_was_sent_but_for_kinds_that_are_not_known_here() {
        let wanted = WantedIndexes { owner: "uid".into(), version: 3, fields: vec![index()] };
        let mut message = indexes_to_pb(pb::Target::default(), &wanted);
        message.indexes.push(Bytes::from_static(b"\x01a\x63\x00"));
        assert_eq!(indexes_from_pb(message), wanted);
    }

    #[test]
    fn no_vectors_by_name_are_none_and_not_all() {
        let none = Want { vectors: WantVectors::Named(vec![]), ..Want::default() };
        assert_eq!(want_from_pb(Some(want_to_pb(&none))), Ok(Want::default()));
    }

    #[test]
    fn a_search_by_a_router_that_knows_no_names_is_one_by_the_unnamed_vector() {
        let old = pb::SearchRequest { vector: vec![1.0], k: 3, ..Default::default() };
        assert_eq!(search_from_pb(old).map(|request| request.using), Ok(String::new()));
    }

    #[test]
    fn damaged_messages_are_refused_by_name() {
        let found = pb::Found { id: Bytes::from_static(b"short"), ..Default::default() };
        assert_eq!(
            found_from_pb(pb::SearchReply { found: vec![found], stale_ms: 0 }),
            Err(DecodeError::Id(5))
        );
        let unknown = pb::Want {
            payload: Some(pb::WantPayload { kind: 99, keys: vec![] }),
            ..Default::default()
        };
        assert!(want_from_pb(Some(unknown)).is_err());
        // A filter with a condition of a kind that a newer router may know.
        let filter = Some(Bytes::from_static(&[1, 1, 99, 0, 0, 0]));
        let error = filter_from_pb(filter.clone()).unwrap_err().to_string();
        assert!(
            error.contains("not known here") && error.contains("upgrade this shard"),
            "{error}"
        );
        assert!(search_from_pb(pb::SearchRequest { filter, ..Default::default() }).is_err());
    }
}
