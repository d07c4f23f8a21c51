# shellcheck shell=bash
# The network: a bridge in the control plane's namespace, a cable from it to each node, and static routes to each node's
# pods. Nothing of it reaches the machine's own network. Sourced.

network_control_plane() {
  ip netns add "$CONTROL_PLANE"
  ip -n "$CONTROL_PLANE" link set lo up
  ip -n "$CONTROL_PLANE" link add br0 type bridge
  ip -n "$CONTROL_PLANE" addr add "$API/24" dev br0
  ip -n "$CONTROL_PLANE" link set br0 up
  # Packets to services must have a way out before kube-proxy's rules turn them around.
  ip -n "$CONTROL_PLANE" route add "$SERVICES" dev br0
  inside "$CONTROL_PLANE" sysctl -qw net.ipv4.ip_forward=1
}

network_node() { # NODE
  local node=$1 i=${1#node} other netns=shoal-$1
  ip netns add "$netns"
  ip link add eth0 netns "$netns" type veth peer name "v$i" netns "$CONTROL_PLANE"
  ip -n "$CONTROL_PLANE" link set "v$i" master br0 up
  ip -n "$CONTROL_PLANE" route replace "198.18.1$i.0/24" via "198.18.0.1$i" onlink dev br0
  ip -n "$netns" link set lo up
  ip -n "$netns" addr add "198.18.0.1$i/24" dev eth0
  ip -n "$netns" link set eth0 up
  ip -n "$netns" route add default via "$API"
  for other in $(node_names); do
    [ "$other" = "$node" ] || ip -n "$netns" route add "198.18.1${other#node}.0/24" via "198.18.0.1${other#node}"
  done
  inside "$netns" sysctl -qw net.ipv4.ip_forward=1
}
