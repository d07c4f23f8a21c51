# Both images, each one static binary on nothing else:
#   docker build --target shoal -t REGISTRY/shoal:0.1.0 .
#   docker build --target shoal-operator -t REGISTRY/shoal-operator:0.1.0 .
# (`make image` packs the same without docker.)
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked -p shoal-node -p shoal-operator \
 && mkdir -p /out/tmp && chmod 1777 /out/tmp \
 && for program in shoal shoal-operator; do \
      strip --strip-debug -o "/out/$program" "target/$(rustc --print host-tuple)/release/$program"; done

FROM scratch AS base
COPY --from=build /out/tmp /tmp
USER 65532:65532

FROM base AS shoal
COPY --from=build /out/shoal /shoal
ENTRYPOINT ["/shoal"]

FROM base AS shoal-operator
COPY --from=build /out/shoal-operator /shoal-operator
ENTRYPOINT ["/shoal-operator"]
