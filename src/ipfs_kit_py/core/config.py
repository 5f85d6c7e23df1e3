"""Every limit and default of the node, each with its unit and its reason.

What a remote peer can make grow has its cap here and nowhere else. ``NodeConfig`` is what a user sets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from ipfs_kit_py.core.errors import ConfigError
from ipfs_kit_py.core.roles import ROLES, Role

if TYPE_CHECKING:
    from pathlib import Path

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

# --- wire: before a peer has proved who it is -------------------------------------------------------------------------
MULTISTREAM_LINE_BYTES = 1024  # a protocol id and its newline; the longest in use has about 60 bytes
MULTISTREAM_MAX_LINES = 64  # proposals on one stream before it is reset: more is a scan
HANDSHAKE_SECONDS = 10.0  # both negotiations and Noise together; covers five round trips to the other side of the world
NOISE_FRAME_BYTES = 65_535  # noise/README.md: the length prefix has 16 bits
NOISE_PLAINTEXT_BYTES = NOISE_FRAME_BYTES - 16  # less the AEAD tag
NOISE_HANDSHAKE_PAYLOAD_BYTES = 8 * KIB  # an RSA-8192 key with its signature has about 2.2 KiB
RSA_MIN_BITS, RSA_MAX_BITS = 2048, 8192  # CVE-2023-39533: larger keys cost seconds of CPU
MAX_KEY_BYTES = 2 * KIB  # a public key on the wire; RSA-8192 has about 1.1 KiB
MAX_IDENTITY_FILE_BYTES = 16 * KIB  # a private key on the disk; RSA-8192 has about 4.7 KiB
MAX_ENVELOPE_BYTES = 16 * KIB  # a signed record; go-libp2p takes 8 KiB of one in identify
MAX_RECORD_ADDRESSES = 64  # addresses of one signed record; public nodes announce fewer than 30
MAX_UNAUTHENTICATED = 64  # inbound connections still in their handshake; when full the oldest silent one goes
MAX_UNAUTHENTICATED_PER_IP = 16  # so that one host cannot take all of them (loopback is exempt)

# --- yamux ------------------------------------------------------------------------------------------------------------
YAMUX_INITIAL_WINDOW = 256 * KIB  # yamux/README.md: fixed by the spec, both ways
YAMUX_MAX_WINDOW = 16 * MIB  # what go-libp2p uses: 16 MiB a round trip is 2 Gbit/s at 63 ms
YAMUX_MAX_CONNECTION_BUFFER = 64 * MIB  # unread bytes of all streams of one connection; windows stop growing before it
YAMUX_MAX_STREAMS_IN = 1024  # streams that one peer may hold open: four times what one go service may
YAMUX_ACCEPT_BACKLOG = 256  # streams that wait for negotiation; the same number as go and rust
YAMUX_MAX_FRAME = 1 * MIB  # the largest DATA frame that we send; each is still bounded by the window
YAMUX_QUANTUM = 64 * KIB  # bytes of one stream before the next stream's turn, when several have something to send
YAMUX_RTT_FLOOR = 0.0005  # seconds; on loopback the turns of both loops are longer than the round trip
YAMUX_DISCARD_BYTES = 8 * KIB  # may still come to a stream closed here (a late protocol answer) before it is reset
YAMUX_CLOSE_SECONDS = 60.0  # a stream closed here whose remote does not close it too is reset
YAMUX_MAX_CONTROL_BYTES = 64 * KIB  # answers to pings and refused streams that wait: more is a flood
YAMUX_PING_INTERVAL = 30.0  # seconds; also the RTT measurement when a connection is idle
YAMUX_PING_TIMEOUT = 20.0  # seconds without any answer: the connection is dead (half-open TCP stays for hours)
WRITE_STALL_SECONDS = 30.0  # a peer that takes not one byte of a pending write for so long is cut off
VIEW_HOLD_SECONDS = 0.05  # how long a write may hold a store's view before the rest is copied (long readers stop reuse)
SEND_BATCH_BYTES = 256 * KIB  # sealed bytes per socket write: enough to fill the pipe, small enough to stay fair
SLOW_BATCH_BYTES = 16 * KIB  # the same where the last write took over a second: the stall deadline counts by batch
WRITE_COPY_BYTES = 16 * KIB  # a shorter write is copied and returns at once
WRITE_COPY_BACKLOG_BYTES = 64 * KIB  # unless a stream has more than this waiting already
READ_BUFFER_MIN, READ_BUFFER_MAX = 4 * KIB, 1 * MIB  # of a connection; grows while reads fill it
SMALL_READ_BYTES = 1 * KIB  # pings and window updates
SMALL_READS = 8  # so many reads or writes of so little in a row, and a connection's buffer is small again
MAPPED_BUFFER_BYTES = 64 * KIB  # larger buffers of a connection do not come from the heap, which keeps what it has
YIELD_AFTER_FRAMES = 1000  # yamux frames of one connection in a row: tiny ones must not keep the loop from the others
CLOSE_SECONDS = 0.02  # what still waits is sent for so long before a connection closes
LINGER_SECONDS = 1.0  # what a remote has said to the end before it closed may still be read for so long
TICK_SECONDS = WRITE_STALL_SECONDS / 6  # how often a connection looks for what has waited too long
REMEMBERED_PROTOCOLS = 64  # of one connection: a stream of a remembered one costs no extra round trip

# --- streams, identify, ping ------------------------------------------------------------------------------------------
NEGOTIATE_SECONDS = 10.0  # protocol choice on a new stream
STREAM_READ_ALL_BYTES = 16 * MIB  # `stream.read()` until the remote half-closes
MESSAGES_AT_ONCE = 32  # messages between kits being read or answered, each of up to STREAM_READ_ALL_BYTES; others wait
MESSAGES_PER_PEER = 8  # of those, so that one peer cannot take all of them
MESSAGE_READ_SECONDS = 60.0  # a message of 16 MiB at 2 Mbit/s; one that comes more slowly gives its place to others
IDENTIFY_MESSAGE_BYTES = 8 * KIB  # go-libp2p: signed message
IDENTIFY_MAX_MESSAGES = 10  # go-libp2p: chunks of one answer
IDENTIFY_MAX_PROTOCOLS = 256  # go-libp2p #3500: over 1,800 were seen by chunked identify
IDENTIFY_MAX_ADDRESSES = 64  # per peer and message; public nodes announce fewer than 30
IDENTIFY_SECONDS = 10.0  # the whole exchange

# --- address book and dialling ----------------------------------------------------------------------------------------
BOOK_MAX_PEERS = 100_000  # about 100 MB at the worst; the DHT's size is about half
BOOK_MAX_ADDRESSES = 32  # per peer, the best ranked are kept
ADDRESS_TTL_CONNECTED = 24 * 3600.0  # seconds; an address that worked
ADDRESS_TTL_SIGNED = 4 * 3600.0  # seconds; certified by the peer's signed record
ADDRESS_TTL_HEARSAY = 30 * 60.0  # seconds; told by others
DIAL_STAGGER_SECONDS = 0.25  # RFC 8305: the next address starts so long after the one before
DIAL_STAGGER_LOCAL_SECONDS = 0.03  # the same for private and loopback addresses, whose round trips are short
DIAL_TIMEOUT_SECONDS = 15.0  # one address, TCP and both handshakes
DIAL_MAX_CONCURRENT = 160  # attempts of the whole node: home routers' NAT tables are small
DIAL_MAX_CONCURRENT_PER_PEER = 8  # attempts to one peer
BACKOFF_BASE_SECONDS, BACKOFF_MAX_SECONDS = 5.0, 3600.0  # a dead peer: 5 s, 10 s … 1 h, with jitter
BACKOFF_MAX_PEERS = 8192  # dead peers remembered; those that may be tried soonest are forgotten first
MAX_ADDRESS_CHARS = 512  # of one multiaddr, text or binary; a relayed WebTransport address has about 350
BOOK_MAX_ENTRY_BYTES = 4 * KIB  # packed addresses of one peer: 32 of the usual length
BOOK_MAX_BYTES = 64 * MIB  # packed addresses of all peers: what bounds the book's memory
BOOK_FLUSH_SECONDS = 30.0  # changes are gathered so long before they are written
BOOK_FLUSH_BATCH = 4096  # peers written in one transaction; more changes than that are written at once
DIAL_MAX_ADDRESSES = 32  # of one attempt to a peer, names resolved: beyond it the worst ranked are left out
DIAL_RESOLVE_DEPTH = 4  # dnsaddr records that lead to dnsaddr records
DIAL_RESOLVE_MAX = 16  # addresses taken from one name

# --- connections ------------------------------------------------------------------------------------------------------
LISTEN_BACKLOG = 256  # connections that the kernel holds until they are accepted
ACCEPT_PAUSE_SECONDS = 0.2  # after the process ran out of file descriptors: others must close first
MAX_CONNECTIONS_PER_PEER = 8  # go-libp2p's number; more than one is kept only until the streams on it end
CONNECTIONS_HARD_FACTOR = 2  # times the high water mark: inbound connections beyond it are refused, however young
DUPLICATE_LINGER_SECONDS = 2.0  # a second connection to a peer closes after so long without streams
VALUE_HALF_LIFE_SECONDS = 300.0  # usefulness of a peer fades, or an early friend would stay for ever
STANDING_HALF_LIFE_SECONDS = 600.0  # false blocks are forgiven at this rate
STANDING_THRESHOLD = 4.0  # false blocks, see Network.penalise: a broken disk makes one or two, malice many
STANDING_REFUSE_SECONDS = 900.0  # how long a peer with such a standing is refused
STANDING_MAX_PEERS = 4096  # peers with a bad standing remembered; the least bad are forgotten first
IDENTIFY_PUSH_DELAY_SECONDS = 0.5  # changes of addresses or protocols told of together
IDENTIFY_PUSH_CONCURRENT = 16  # peers told at once
IDENTIFY_MAX_TEXT = 256  # characters of an agent or a protocol id
IDENTIFY_KNOWN_PEERS = 1024  # peers whose protocols are remembered after they disconnected
IDENTIFY_PROTOCOL_BYTES = 16 * KIB  # text of all protocol ids of one peer; 256 of the usual length
OBSERVED_MAX_ADDRESSES = 64  # of our own, as peers tell them; those told of longest ago are forgotten
INTERFACE_POLL_SECONDS = 30.0  # how often this machine's own addresses are looked up again
FAREWELL_SECONDS = 1.0  # for saying good-bye to all peers when the node ends
PING_SECONDS = 10.0  # wait for one echo
PING_IDLE_SECONDS = 60.0  # an inbound ping stream without a ping is closed

BOOTSTRAP_RETRY_SECONDS = 30.0  # between looks whether a configured peer is gone; then it is dialled again

# --- bitswap ----------------------------------------------------------------------------------------------------------
MAX_BLOCK_BYTES = 2 * MIB  # bitswap-protocol.md: implementations must support 2 MiB
MAX_MESSAGE_BYTES = 4 * MIB  # bitswap-protocol.md: the largest message
MAX_WANTLIST_ENTRIES = 1024  # per peer; boxo's number (CVE-2023-25568: unbounded wants)
MAX_PRESENCES_PER_MESSAGE = 8192  # a 4 MiB message could name 100,000
MAX_ENTRIES_PER_MESSAGE = 16_384  # a 4 MiB message could name 100,000; the ledger keeps MAX_WANTLIST_ENTRIES of them
MAX_FIELDS_PER_MESSAGE = 330_000  # protobuf fields of all levels: what the other limits of a message need
MAX_BLOCKS_PER_MESSAGE = 65_536  # the smallest blocks that a 4 MiB message could hold, with their framing
HAVE_REPLACE_BYTES = 1024  # a HAVE is answered with the block itself up to this size
MAX_LEDGERS = 10_000  # accounts of peers that have gone
MAX_BITSWAP_STREAMS_PER_PEER = 64  # inbound at once: old versions open one for each message
LARGE_MESSAGE_BYTES = 64 * KIB  # all streams of a peer may be within a message of this size at once
MAX_LARGE_MESSAGES_PER_PEER = 4  # larger ones being read or stored, of one peer; its other streams wait
TARGET_MESSAGE_BYTES = 1 * MIB  # answers are gathered up to this size; a larger block goes alone
MAX_OUTSTANDING_PER_PEER = 4 * MIB  # bytes of answers being sent to one peer before the next peer's turn
SERVER_WORKERS = 8  # answers being read or sealed at once, of all peers
SESSION_WINDOW_MIN, SESSION_WINDOW_MAX = 1 * MIB, 32 * MIB  # bytes wanted and not yet here, per peer: a full pipe
SESSION_UNKNOWN_BLOCK_BYTES = 256 * KIB  # what a block is assumed to weigh until its size or its siblings' is known
SESSION_RANDOM_PEERS = 4  # connected peers asked besides those that are always asked
SESSION_PROVEN_PEERS = 8  # connected peers asked because they delivered blocks lately, to other sessions too
MAX_SESSION_PEERS = 64  # peers that one session remembers as having had its blocks
MAX_PROVEN_PEERS = 1024  # peers remembered as having delivered; those that did so longest ago are forgotten
MAX_CHOSEN_PEERS = 1024  # peers that the caller wants to be always asked; remembered while they are away
COLD_PROBES = 16  # wants of a session that are probed at once while no peer is known to have any of its blocks
PROVIDER_SEARCH_SECONDS = 10.0  # between two searches for providers by one session
PROVIDER_SEARCHES = 8  # searches for providers at once, of all sessions
PROVIDERS_PER_SEARCH = 20  # providers of one search that are connected to, as many as the DHT is asked to give
PROVIDER_DIALS = 4  # of them at once
PROVIDER_SEARCH_MAX_SECONDS = 60.0  # one search: a walk of the DHT takes about ten, and no search may keep its place
WANT_TIMEOUT_MIN, WANT_TIMEOUT_MAX = 0.5, 30.0  # seconds before a silent peer counts as DONT_HAVE, adapted between
REBROADCAST_SECONDS = 60.0  # wants still open are asked again of all session peers
RETRY_SECONDS = 10.0  # after so long the first time, then at doubling intervals up to it
INGEST_MAX_BYTES = 32 * MIB  # received, not yet verified and stored: beyond it the reading stops
INGEST_BLOCK_OVERHEAD = 512  # bytes that a waiting block takes besides its own: 65,536 may have one byte each
INGEST_LANES = 2  # batches under work at once: one is hashed while the store's only writer works on the other
INGEST_BATCH_BLOCKS = 4096  # blocks of one batch, however small: about 50 ms of hashing
MAX_RECENT_WANTS = 16_384  # multihashes that were wanted lately: a late answer to a cancelled want is no lie

# --- DAGs -------------------------------------------------------------------------------------------------------------
MAX_DAG_DEPTH = 64  # of a UnixFS file, and of directories in a tree; a file of 1 EiB with width 2 has 60
MAX_PATH_SEGMENTS = 1024  # of one path: each may cost a fetch
MAX_CODEC_DEPTH = 1024  # nesting of dag-cbor and dag-json (CVE-2026-42328: unbounded recursion)
MAX_LINKS_PER_BLOCK = 100_000  # a 2 MiB block cannot hold more
MAX_PLAN_LINKS = 2_000_000  # links of one reading that wait to be followed, 120 bytes each: 20 of the widest blocks
MAX_FILE_BYTES = (1 << 63) - 1  # of a UnixFS file: what other implementations hold a size in
MAX_HAMT_FANOUT = 1024  # unixfs.md: a power of two, a multiple of 8, at most this
HAMT_AHEAD_CHILDREN = 65_536  # children that the shards asked for may have: 256 shards of the usual fanout at once
HAMT_AHEAD_SHARD_BYTES = 16 * KIB  # what a shard is expected to weigh: 256 entries with names of 20 bytes
HAMT_MAX_FRONTIER = 65_536  # known shards not asked for: 200,000 entries; above it a quarter is asked at once, since
# a trie of shards alone grows 256-fold a level: about 60 MB at the worst
MAX_FILE_LINKS = 16_384  # of one node of a file that we write: with the longest CIDs still under 2 MiB
MAX_NAME_BYTES = 1024  # of an entry that we write; file systems allow 255, a full HAMT shard stays under 2 MiB
MAX_CAR_HEADER_BYTES = 1 * MIB  # roots of a CAR; never allocated from its length field
MAX_CAR_SECTION_BYTES = 8 * MIB  # one block with its CID
MAX_CAR_ROOTS = 10_000  # roots named by one CAR
READ_AHEAD_BYTES = 32 * MIB  # of a DAG being read in order, at the most: 0.3 s of a line of 1 Gbit/s
READ_AHEAD_LEAST_BYTES = 8 * MIB  # the same while all is in the store: what its threads read at once

# --- store ------------------------------------------------------------------------------------------------------------
STORE_MAP_BYTES = 1 << 40  # address space of each LMDB environment, not disk; raised when the quota is larger
PUT_BATCH_BYTES = 8 * MIB  # blocks gathered for one transaction: 2.6 GB/s there against 0.5 for single puts
DEFAULT_STORAGE_MAX = 10 * GIB  # quota of kept and fetched together, as Kubo's StorageMax
MEMORY_ONLY_BYTES = 512 * MIB  # the block store of a node without a repo
STORE_KEPT_TXN_BYTES = 32 * MIB  # kept blocks of one transaction; each costs a disk sync and as much memory
STORE_FETCHED_SHARE = 32  # a transaction of fetched blocks is at most this share of the quota: space freed by one can
# only be used by the one after the next, so that two of them are what the file exceeds the quota by
STORE_READERS = 1024  # reader slots of an environment, 64 bytes each; a view takes up to three
STORE_GROWTH = 1.25  # file bytes to live bytes from which a write waits for readers that hold up the reuse of pages
STORE_GROWTH_PAGES = 1.15  # the same to the bytes of pages in use, for blocks that take more than their bytes
STORE_GROWTH_FLOOR = 4 * MIB  # file bytes that are never worth waiting for
STORE_STALL_SECONDS = 1.0  # how long it waits: twenty times what a view may last
STORE_GATE_SECONDS = 30.0  # wait of a change of the map for the views of this process to end
STORE_CLEAN_BYTES = 256 * MIB  # fetched bytes not known to be on the disk that closing waits for: about a second
STORE_SCAN_BATCH = 4096  # entries read in one snapshot when a store is listed
SWEEP_BATCH = 512  # blocks deleted in one transaction: a few milliseconds in which no other can write
VERIFY_BATCH_BYTES = 8 * MIB  # blocks hashed in one view: about 20 ms
MAX_PIN_NAME_BYTES = 255  # Kubo's limit
HOT_BLOCK_BYTES = 64 * KIB  # the largest block that the memory tier takes at once: nodes of DAGs, not their leaves
HOT_HEAT = 2.5  # from which it takes larger ones too: of three uses lately
HOT_SHARE = 16  # none larger than one part of so many of it

# --- cache policy -----------------------------------------------------------------------------------------------------
POLICY_MAX_GHOSTS = 262_144  # blocks that went from memory whose score is remembered, about 100 bytes each
HEAT_HALF_LIFE_SECONDS = 86_400.0  # after which a use counts half: what is used daily stays warm over a weekend
HEAT_AWAY_HALF_LIVES = 4.0  # that a machine which was off cools down by at most, whatever its clock says afterwards
HEAT_KEYS = 65_536  # blocks whose heat is known where it is in memory alone: about 15 MB
HEAT_PENDING = 4096  # blocks with uses that are not stored yet: about 1 MB, lost when a process is killed
HEAT_TXN_KEYS = 1024  # stored in one transaction: some milliseconds in which no other can write
HEAT_STORED = 1_000_000  # blocks with a stored heat, here or gone: about 80 bytes each
EVICT_SAMPLE = 2  # times what is needed: the blocks looked at, of which the coldest go
EVICT_SPARED = 4  # the youngest one part of so many is looked at only where all others do not suffice
EVICT_LEAST, EVICT_LOOKS = 32, 256  # of them at least, and more than what is needed at most, to find some not in use
STORE_HIGH_WATER, STORE_LOW_WATER = 0.95, 0.90  # of the quota: above the first, eviction in the background goes on to
# the second, so that a write seldom has to evict
STORE_MAX_CORRUPT = 4096  # damaged blocks remembered as such, until they are fetched again
STORE_VERIFIED_SLOTS = 1 << 20  # blocks known to be whole since the store was opened: 8 bytes each, once touched

# --- remote tiers: filecoin -------------------------------------------------------------------------------------------
COMMP_MAX_WORKERS = 16  # processes that make one commitment: their segments' memory is 4 MiB each
COMMP_SEGMENT_SECONDS = 60.0  # wait for one segment of 4 MiB: a thousand times what it takes
API_ANSWER_BYTES = 8 * MIB  # one JSON answer: a page of 1,000 pins with 20 addresses each has about 2 MiB
API_ERROR_CHARS = 300  # of a server's own words in an error
API_SECONDS = 30.0  # one request with its answer, tried again within it
API_MAX_CONNECTIONS = 8  # to one service at once
API_PROGRESS_BYTES = 64 * KIB  # a stream that brings less in the time of one request is given up
API_UPLOAD_FLOOR = 64 * KIB  # bytes a second: an upload slower than that, repetitions included, is given up
API_UPLOAD_CHUNK = 256 * KIB  # bytes read from the disk at a time for an upload
PIN_PAGE = 1000  # pins asked for at once: the specification's own limit
PIN_LIST_BYTES = 128 * MIB  # one JSON answer with all pins of a service that cannot page
PIN_MAX_PAGES = 100  # of one listing: 100,000 pins are about 100 MB
PIN_MAX_DELEGATES = 20  # addresses taken from one answer: the specification's own limit
PIN_MAX_NAME = 255  # characters of a pin's name: the specification's own limit
POLL_SECONDS, POLL_MAX_SECONDS = 1.0, 30.0  # between questions about something that goes on; doubles
PIECE_MIN_BYTES = 127  # of a payload that a PDP server takes
PIECE_MAX_BYTES = 1_065_353_216  # likewise: 1 GiB less fr32 padding
PIECE_PARKED_BLOCKS = 1_000_000  # of an archive, met before what links to them: about 200 MB, their bytes on the disk
PIECE_FIRST_BYTES = 16 * MIB  # read of a piece for one block, which is its root: archives begin with it
PIECE_POP_BYTES = 4 * MIB  # of blocks of an archive given out at once
PIECES_PER_CALL = 40  # added to a data set at once: the contract's limit on events
PIECES_PER_DAG = 4096  # of one DAG: 4 TiB of the largest
PDP_EXTRA_BYTES = 64 * KIB  # signed data of one call: 40 pieces with their metadata take 20 KiB

# --- remote tiers: storacha -------------------------------------------------------------------------------------------
UCAN_DID_CHARS = 256  # of a DID: did:web names are at most 253 characters, did:key of Ed25519 56
UCAN_BLOCK_BYTES = 64 * KIB  # one UCAN or receipt: real ones have under 2 KiB
UCAN_MAX_CAPABILITIES = 128  # of one UCAN: the service has about 60 abilities
UCAN_MAX_PROOFS = 64  # of one UCAN, also its facts; real ones have under 5
UCAN_MAX_CHAIN = 64  # delegations looked at for one right: each costs a signature check of 0.1 ms
UCAN_MESSAGE_BYTES = 4 * MIB  # one message or archive with its proofs: a page of 100 uploads has about 60 KiB
UCAN_MESSAGE_BLOCKS = 2048  # of them: a receipt for a blob has about 20
UCAN_LIFE_SECONDS = 300  # an invocation's: as far as the clocks of the two sides may differ
UCAN_INLINE_BYTES = 16 * KIB  # a message longer than this is read on a worker thread
STORACHA_SHARD_BYTES = 127 * MIB  # of an archive: what the service's own client makes, just under 2**27
STORACHA_SHARDS = 1024  # of one DAG: their links fit one UCAN
STORACHA_BLOB_BYTES = 127 * 32 * MIB  # of a blob whose size is not known: what storage nodes take at most
STORACHA_SITES = 10_000  # of blobs whose place is remembered, about 500 bytes each
STORACHA_BLOCKS = 1_000_000  # of one DAG: its index is about 60 MB then
STORACHA_SHARD_BLOCKS = 100_000  # of one archive: its part of the index is a block of about 6 MB then
STORACHA_INDEX_BYTES = 96 * MIB  # of an index that is read
STORACHA_INDEX_CACHE = 100_000  # slices of indexes kept in memory, about 250 bytes each
STORACHA_INDEX_TRIES = 8  # indexes fetched to find one block
STORACHA_PAGE, STORACHA_PAGES = 100, 1000  # uploads asked for at once, and how often: all others, before shards go
STORACHA_URLS = 8  # taken from one location claim, and claims tried for one blob
STORACHA_SCAN_BYTES = 256 * MIB  # read of archives for one block where there is no index
STORACHA_HEADERS = 32  # that a storage node wants with an upload, each of at most 1,024 characters
STORACHA_READ_BYTES = 4 * MIB  # asked of an archive at once
STORACHA_READ_GAP = 64 * KIB  # between blocks: read over rather than asked anew

# --- remote tiers: kubo and gateways ----------------------------------------------------------------------------------
HTTP_CONNECT_SECONDS = 10.0  # names, TCP and TLS together; DIAL_TIMEOUT_SECONDS allows for two handshakes more
HTTP_HEADER_BYTES = 64 * KIB  # all headers of an answer, likewise its trailers; servers refuse more of a request
HTTP_READ_BYTES = 256 * KIB  # of one read from a socket
HTTP_IDLE_SECONDS = 60.0  # an unused connection is kept: proxies close theirs after 60 to 75 s
HTTP_MAX_INFORMATIONAL = 16  # answers 1xx before the real one
ARCHIVE_PARK_BYTES = 16 * MIB  # blocks of an archive held until what links to them comes: 64 of the usual size
ARCHIVE_USELESS_BYTES = 64 * MIB  # duplicates and foreign blocks that are read, besides as much as was of use
ARCHIVE_INLINE_BYTES = 32 * KIB  # of an archive checked without a thread: about 20 us, a fifth of what a thread costs
FETCH_TOGETHER = 16  # blocks asked for at once where an archive was cut: 4 MiB of the usual size
GATEWAY_MAX = 64  # gateways of one list
GATEWAY_FILE_BYTES = 16 * KIB  # a file that names them
GATEWAY_RACERS = 4  # of them asked for one thing, one after another, unless those asked fail
GATEWAY_LEAD_SECONDS = 0.3  # head start of one that was never measured
GATEWAY_LEAD_MIN, GATEWAY_LEAD_MAX = 0.02, 2.0  # seconds; of one that was: its usual time and twice its deviation
GATEWAY_BEHIND_SECONDS = 900.0  # one that lied is asked after all others for so long
GATEWAY_REST_SECONDS = 5.0  # of one that has too much to do and does not say for how long
GATEWAY_REST_MAX_SECONDS = 900.0  # what its Retry-After is cut to
GATEWAY_MAX_REDIRECTS = 3  # of one request: path to subdomain, and to another host
GATEWAY_MAX_ORIGINS = 4  # hosts redirected to whose connections one gateway keeps
RPC_LINE_BYTES = 1 * MIB  # one line of JSON of a daemon: rows of pins and references have under 1 KiB
RPC_SEND_BYTES = 1 * MIB  # blocks checked and sent together

# --- remote tiers: clusters -------------------------------------------------------------------------------------------
CLUSTER_ADD_SECONDS = 300.0  # from the end of an upload to its answer: 256 blocks may wait for their way to other peers
CLUSTER_MAX_PEERS = 1000  # of one answer about a pin; a cluster of hundreds is a large one
CLUSTER_MAX_NAME = 255  # characters of a pin's name

# --- remote tiers: configuration --------------------------------------------------------------------------------------
MAX_TIER_ITEMS = 256  # of one list or table of texts in a tier's table: far above what any service takes

# --- tiers: the miss path ---------------------------------------------------------------------------------------------

MISS_PRIOR_SECONDS = 0.5  # until a block comes from a remote tier that was never measured
MISS_PEERS_PRIOR_SECONDS = 0.1  # the same of peers: they are asked first while nothing is known
MISS_LEAD_MIN, MISS_LEAD_MAX = 0.02, 10.0  # seconds that the next source waits for the one before, at least and at most
MISS_RECHECK_SECONDS = 5.0  # a block that only peers are still asked for is offered to tiers that came back so often
MISS_TIER_REQUESTS = 16  # blocks asked of one tier at once: enough to hide its latency, few enough for any server
MISS_TIER_SECONDS = 60.0  # for one block of a tier, whatever its own timeout
MISS_HEALTH_SECONDS = 30.0  # that a check of a tier's health may take
ABSENT_SECONDS = 30.0  # that a tier which has not got a block is not asked for it again
ABSENT_MAX = 65_536  # such answers remembered: 6 MiB; the oldest go
BREAKER_FAILURES = 5  # in a row, after which a source is left alone
BREAKER_BASE_SECONDS, BREAKER_MAX_SECONDS = 1.0, 300.0  # the first pause and the longest; each failed trial doubles it
BREAKER_LIE_SECONDS = 600.0  # pause of a source that gave a false block

TRIM_SECONDS = 2.0  # between looks whether the cache is above its high water
MEND_SECONDS = 30.0  # that one damaged block is looked for elsewhere
MAX_TIER_NAME = 64  # characters of a remote tier's name: it is part of the keys of records
REPLICA_CHECK_SECONDS = 3600.0  # between looks at a copy that is safe at a remote tier
REPLICA_CHECKS = 256  # copies looked at, or made, in one round of a tier: other work of the round comes after
REPLICA_POLL_SECONDS, REPLICA_POLL_MAX_SECONDS = 0.5, 30.0  # between looks at one that is on its way: first, longest
REPLICA_RETRY_SECONDS, REPLICA_RETRY_MAX_SECONDS = 5.0, 3600.0  # after a failure; doubles up to the longest
MAX_RECORD_BYTES = 64 * KIB  # of metadata or state kept beside the blocks, for one CID

# --- threads ----------------------------------------------------------------------------------------------------------

READER_THREADS_MIN, READER_THREADS_MAX = 4, 8  # reading blocks of up to 2 MiB, 32 at once: 512 MiB at the very worst
WORK_THREADS_MIN, WORK_THREADS_MAX = 8, 32  # some wait for the disk while others hash

# --- tiers: prefetch --------------------------------------------------------------------------------------------------

PREFETCH_SHARE = 8  # blocks fetched ahead and not read yet take at most one part of so many of the memory tier
PREFETCH_MAX_BYTES = 32 * MIB  # and this much: what a reader of 1 GB/s takes in 30 ms
PREFETCH_MIN_BYTES = 1 * MIB  # and may take this much: four blocks of the usual size
PREFETCH_BATCH = 32  # blocks of one request: enough for one round trip, few enough to be given up
PREFETCH_WINDOW_MIN, PREFETCH_WINDOW_MAX = 2, 64  # blocks that one predictor looks ahead; a right guess adds one
PREFETCH_CANDIDATES = 256  # guesses that wait for their fetch; the oldest go
PREFETCH_PENDING = 4096  # guesses not settled yet, 200 bytes each
PREFETCH_HORIZON = 8  # reads beyond twice those that a guess looked ahead, after which it was fetched for nothing
PREFETCH_WATCHED = (
    16  # after which a guess that was only watched was wrong: sooner, or the right ones would count first
)
PREFETCH_SECONDS = 60.0  # after which it was wrong too
PREFETCH_RECENT = 4096  # blocks read lately, which need not be fetched
PREFETCH_PROVEN = 8  # guesses looked at before a predictor may begin
PREFETCH_LEAST_PRECISION = 0.25  # three useless blocks for one of use are too many, however slow a miss is
PREFETCH_LINKS = 65_536  # links of nodes that were read: about 20 MB
PREFETCH_NODE_LINKS = 8192  # of them of one node
PREFETCH_SEQUENCES = 8192  # blocks whose followers are counted, about 600 bytes each
PREFETCH_CHAIN = 8  # followers of followers that are guessed at once
PREFETCH_CONFIDENCE = 0.5  # of the uses of a block, in which another came with it: then it is guessed
PREFETCH_AFFINITY_ROOTS = 2048  # roots whose company is counted, about 1.5 KB each
PREFETCH_AFFINE = 8  # others counted for one root
PREFETCH_TOGETHER = 8  # roots read one after another that count as read together
PREFETCH_AFFINITY_SECONDS = 30.0  # within so long
PREFETCH_STREAMS = 256  # readers whose last block is remembered
PREFETCH_BULK = 16  # blocks asked for at once; who asks for more looks ahead himself and is not watched
PREFETCH_IDLE_SECONDS = 60.0  # without a miss or a fetch, after which reads of what is here are not watched either
PREFETCH_FETCH_SECONDS = 30.0  # for one request: a source that takes longer is no use for what is read soon
PREFETCH_STUCK_SECONDS = 30.0  # a read that waits for longer waits for what nobody has: it holds up nothing

# --- tiers: shared memory ---------------------------------------------------------------------------------------------

LEASE_SECONDS = 30.0  # that a lease lasts unless another time is asked for
LEASE_MAX_SECONDS = 120.0  # the longest lease: what its reader forgets, or hangs in, holds a block no longer
LEASE_KEYS = 256  # blocks of one lease
LEASE_MAX_FILES = 64  # leases that count in one store, the newest: looking at them takes a fraction of a millisecond
LEASE_KEY_BYTES = 96  # the longest multihash that can be leased; those of 64 byte digests have up to 68
LEASE_SETTLE_SECONDS = 0.05  # wait for a deletion that may not have seen a lease; then the block is copied
LEASE_POLL_SECONDS = 0.0005  # between looks whether it has ended
SHM_SHARE = 2  # a memory tier in shared memory takes at most one part of so many of the tmpfs that it lies in
SHM_SLACK = 1.5  # file bytes of a memory tier to its quota: pages with keys, and those freed but not used again

# --- routing ----------------------------------------------------------------------------------------------------------
KAD_K = 20  # peers of a bucket, and that a lookup ends with; Amino's number
KAD_ALPHA = 10  # requests of one lookup at once; Amino's number
KAD_JOIN_SECONDS = 2.0  # that a search waits for a peer that has just connected to say that it serves the DHT
KAD_RESILIENCY = 3  # closest peers that have answered before a walk settles on its closest k; Amino's number
KAD_MESSAGE_BYTES = 4 * MIB  # one message; go-libp2p's number
KAD_MAX_FIELDS = 4096  # protobuf fields of one level of a message: four times what the other limits need
KAD_KEY_BYTES = 256  # a key; go refuses multihashes over 80 bytes, names of records have under 60
KAD_RECORD_BYTES = 16 * KIB  # a value; IPNS records have at most 10 KiB
KAD_MAX_CLOSER = 64  # closer peers read of one answer; honest ones send 20
KAD_MAX_PROVIDERS = 512  # providers read of one answer; go sends all that it has
KAD_MAX_ADDRESSES = 32  # of one peer in a message, as BOOK_MAX_ADDRESSES
KAD_TABLE_ADDRESSES = 16  # of one peer kept in the routing table or in a lookup, the first told
KAD_GROUP_IN_TABLE = 3  # peers of one group of IPs (/16, IPv6 /32) in a table; Amino's number (CVE-2020-10937)
KAD_GROUP_IN_BUCKET = 2  # and in one of its buckets; Amino's number
KAD_GROUP_IN_LOOKUP = 5  # and among the closest of a lookup: a key is not surrounded from one rented network
KAD_MAX_BUCKETS = 256  # one per shared bit; k peers and as many replacements each
KAD_CHECK_SECONDS = 10.0  # a check that is not answered by then has failed
KAD_CHECKS_AT_ONCE = 8  # checks of a table under way: a thousand old peers are not dialled at once
KAD_FRESH_SECONDS = 120.0  # a peer heard of within this is not checked because others want its place
KAD_STALE_SECONDS = 1800.0  # a peer that was not heard of for so long is checked anyway: half of all leave within 2 h
KAD_RETRY_SECONDS = 60.0  # between checks of peers while everything fails, which means that we are offline
KAD_OFFLINE_FAILURES = 8  # checks that failed in a row, none answered: it is our network, nobody is evicted
KAD_REFRESH_SECONDS = 600.0  # between refreshes of a bucket; go's number
KAD_REFRESH_BITS = 15  # deepest bucket refreshed by a key of its own, as go; deeper ones by looking for ourselves
KAD_LOOKUP_ASKS = 400  # requests of one lookup at most: ten times what an honest network of millions takes
KAD_LOOKUP_CANDIDATES = 2000  # peers that one lookup remembers, the closest: about 2 MB
KAD_LOOKUP_NAMERS = 8  # of one candidate that share the blame when it does not answer
KAD_LOOKUP_BLAME = 3  # candidates in vain that a namer has for nothing, and two more for each that answered
KAD_ASK_SECONDS = 10.0  # the longest wait for one peer's answer, dialling included
KAD_ASK_MIN_SECONDS = 1.5  # the shortest, however fast the others were: a new connection takes four round trips
KAD_ASK_FIRST_SECONDS = 2.5  # while nothing was measured: three round trips around the earth and a busy peer
KAD_PATIENCE = 2.5  # times the usual wait that a lookup with k answers gives slower peers; once if one alone named it
KAD_NAMER_ADDRESSES = 8  # of one peer that are taken from one that names it: others may know better

# --- providing --------------------------------------------------------------------------------------------------------
PROVIDE_INTERVAL_SECONDS = 22 * 3600.0  # between two tellings of one key; Amino's number, records are valid for 48 h
PROVIDE_MAX_MULTIHASH = 80  # bytes; go refuses longer keys
SWEEP_BITS = 12  # the key space is kept in 4,096 parts: in a network of 260,000 each is a region of 64 peers
SWEEP_REGION_PEERS = 64  # of one region, about: with 20 and more its keys need no peers of others
SWEEP_SIZE = 10_000.0  # peers that a network is taken to have before any lookup has told
SWEEP_REGION_KEYS = 4096  # of one region, where it has two parts or more: hashed in 10 ms of the loop
SWEEP_REGIONS = 3  # regions that are worked on at once, at most one less of them for new keys alone
SWEEP_LOOKUPS = 64  # of one region: where answers are so poor that it takes more, keys go to the closest known
SWEEP_EXPLORE_TRIES = 3  # lookups that fail before the region is given up for now
SWEEP_TELL_KEYS = 1000  # of one message to the driver: 300 KB on one stream
SWEEP_TELLS = 16  # of one region under way
SWEEP_QUEUE_KEYS = 100_000  # new keys that are queued one by one; beyond, their whole part of the key space is due
SWEEP_GATHER_SECONDS = 2.0  # that new keys wait for others of their region
SWEEP_RETRY_SECONDS = 60.0  # before a region that failed is tried again, doubled each time
SWEEP_RETRY_MAX_SECONDS = 3600.0  # the longest of these
SWEEP_OFFLINE_FAILURES = 3  # regions that fail in a row, none told: we are offline, and try one at a time
SWEEP_PEER_FAILURES = 2  # messages to one peer that fail in a row before those left for it are dropped
SWEEP_BEHIND_SECONDS = 2 * 3600.0  # by which the sweep may be late without a warning
SWEEP_WARN_SECONDS = 3600.0  # between two warnings
PROVIDE_CONNECTIONS = 16  # peers that are told at once; Kubo's number of workers
PROVIDE_LOOKUP_SECONDS = 60.0  # a lookup that takes longer has failed
PROVIDE_TELL_SECONDS = 60.0  # to dial a peer and send it a batch; go's number
PROVIDE_WATCH_SECONDS = 60.0  # between looks at the clock: that of the loop stands still while a machine sleeps
PROVIDE_SAVE_SECONDS = 60.0  # between two writings of what was done: as much is repeated after a crash
PROVIDE_SYNC_SECONDS = 6 * 3600.0  # between two readings of all keys, which find what nobody told of
PROVIDE_SYNC_BATCH = 2000  # keys taken up in one go: 10 ms
PROVIDE_SYNC_SHARE = 0.05  # of the time at most that reading all keys takes, however often somebody wants it
PROVIDE_PEERLESS_SECONDS = 5.0  # between looks whether a DHT without peers has one
PROVIDE_ONCE_KEYS = 10_000  # that wait to be told of once, kept over a restart
PROVIDE_NOW_KEYS = 8  # of one call that are told of at once, each by a lookup of its own; more are grouped
PROVIDE_NOW_SECONDS = 120.0  # for telling the last peers of one of these, behind its caller's back

OPTIMISTIC_CERTAINTY = 0.9  # that a peer which is told early is among the k closest; go's number
OPTIMISTIC_RETURN = 0.5  # of k that have a record when the caller is answered: any lookup passes one of ten

SIZE_LOOKUPS = 64  # whose outcomes make the estimate of the network's size: within 3 %
SIZE_MIN_LOOKUPS = 3  # before there is one: within 15 %
SIZE_MAX_SECONDS = 24 * 3600.0  # for which an outcome counts
KAD_IDLE_STREAMS = 256  # outbound streams kept open for the next request, one a peer, the last used
KAD_REQUESTS_PER_PEER = 4  # of ours to one peer at once, a stream each; others wait
KAD_STREAMS_PER_PEER = 32  # inbound streams of one peer; go uses one, we four at most, js one for each request
KAD_REQUEST_BYTES = 64 * KIB  # of one request: a record of 16 KiB, or a provider with all of its addresses
KAD_STREAM_IDLE_SECONDS = 60.0  # an inbound stream without a request is closed then; go's number
KAD_SERVER_RATE = 50.0  # requests a second of one peer that are answered, ten times as many records; others wait
KAD_SERVER_BURST = 400.0  # requests of one peer that may come at once; a lookup asks each peer once
KAD_ANSWER_PROVIDERS = 100  # told in one answer, by chance where there are more
KAD_ANSWER_ADDRESSES = 8  # of one peer in an answer: 120 peers have 60 KiB, whoever asks
KAD_PROVIDE_SECONDS = 48 * 3600.0  # a provider record's validity; Amino's number
KAD_EXPIRE_SECONDS = 3600.0  # between looks for records that have ended; nobody is told of one that has
KAD_PROVIDER_RECORDS = 100_000  # kept for others: about 40 MB; of too many those go whose provider has the most
KAD_PROVIDERS_PER_KEY = 512  # of one content; the oldest goes
KAD_PROVIDER_KEY_BYTES = 80  # the longest multihash that providers are kept of; go's number
KAD_VALUES = 4096  # signed records kept for others, at most 10 KiB each; the one that was put longest ago goes
KAD_VALUE_SECONDS = 48 * 3600.0  # a value is kept after it was put; Amino's number
KAD_VALUES_PER_PEER = 256  # of those that one peer put; a peer with more pushes out its own
KAD_QUORUM = 16  # good values that get_value waits for before it settles on the best; Kubo's number for names
KAD_REFRESH_PAUSE = 0.2  # seconds before a refresh that is due: what a new peer was connected for comes first
KAD_LOOKUPS = 32  # of one DHT at once; others wait
KAD_SEND_SECONDS = 10.0  # for one peer to take a record, dialling included
KAD_SENDS = 20  # records that are put to peers at once, of one call
KAD_SAVE_SECONDS = 600.0  # between writes of the table and the records to the repo

# --- the router -------------------------------------------------------------------------------------------------------
ROUTER_SECONDS = 60.0  # one search for providers, all routers together: the DHT takes about ten at the worst
ROUTER_WAITING = 64  # providers of one router that wait for whoever searches; it is not read further until he takes one
ROUTER_ANSWERS = 4096  # providers read of one router for one search: one that gives more is left
ROUTER_COUNT = 1000  # providers that one search may ask for
ROUTER_ADDRESSES = BOOK_MAX_ADDRESSES  # of one provider, taken from all that name it in turn
ROUTER_ADDRESSES_READ = 64  # of one provider in one answer that are looked at
ROUTER_PEER_SEARCHES = 4  # of one search at once, for peers that are named without an address
ROUTER_PEER_SECONDS = 10.0  # one of them: the others go on without
ROUTER_LOOKUPS = 64  # searches at once; others wait
CONNECTED_PEERS = 32  # connected peers asked for one search: those that a fetch would ask, with some to spare
CONNECTED_SECONDS = 5.0  # for them to answer at the most: a busy peer's round trip
CONNECTED_LEAST_SECONDS = 1.0  # that the others have once one has answered
CONNECTED_PATIENCE = 4.0  # times as long as it took him, if that is longer
INQUIRIES = 256  # of connected peers at once; more are refused
FIND_SPARE = 2  # times the providers that are asked for are looked for, to have a choice
FIND_SETTLE_SECONDS = 1.0  # that others have to come once there are enough
MISS_STALL_SECONDS = 30.0  # that a content may take without progress, which a cache has not got and peers may
MISS_TIMES = 10.0  # times as long altogether, as long as it comes
MISS_MAX_BYTES = 50 << 20  # of a content that is returned whole for a miss; reading in pieces has no bound
MISS_RECOVERIES = 8  # contents that did not come in time and are fetched on in the background
RETRIEVE_SECONDS = 30.0  # for a whole content, where the caller does not say
ANNOUNCE_SECONDS = 20.0  # that whoever announces content waits until others know; then it goes on without him

# --- providers --------------------------------------------------------------------------------------------------------
REPUTATION_PEERS = 8192  # remembered, about 600 bytes each; neutral ones go before known good ones, liars last
REPUTATION_LIARS = 0.25  # of those at most that are liars: new names that lie do not push out who is known to be good
REPUTATION_SAVE_SECONDS = 600.0  # between writes of what is known of peers to the repo
REPUTATION_ANSWERS_SECONDS = 6 * 3600.0  # half-life of what is known of a peer's answering: nodes come and go in hours
REPUTATION_DELIVERS_SECONDS = 2 * 86400.0  # of its delivering
REPUTATION_HONEST_SECONDS = 30 * 86400.0  # of its honesty: who lied yesterday lies today
REPUTATION_LIE = 30.0  # honest deliveries that one lie weighs as much as: more than all that are counted make up for
REPUTATION_MAX_GOOD = 50.0  # what good counts at most: no store of it buys lies
REPUTATION_MAX_BAD = 400.0  # what bad counts at most: about half a year to heal from the worst
REPUTATION_MIB = 1 << 20  # verified bytes that count as one honest delivery: crumbs buy no trust
REPUTATION_METER_BYTES = 64 * KIB  # at least, of a delivery that throughput is measured by: less measures the latency
REPUTATION_MEASURED_SECONDS = 86400.0  # half-life of latency and throughput, back to what is thought of strangers
REPUTATION_CLOCK_SECONDS = 86400.0  # by which what is known may be ahead of the clock; more, and the clock was wrong
LORE_SECONDS = 1.0  # between what the exchange tells of one peer's deliveries: a call costs as much as two blocks
PREFER_PEERS = 64  # connected peers of which a session's fastest are chosen, by chance: 10 us each
CHOICE_LATENCY = 0.15  # seconds, of a peer that was never measured: half of the earth away
CHOICE_LOCAL_LATENCY = 0.005  # on our own networks
CHOICE_THROUGHPUT = 2e6  # bytes a second, never measured: slower than the median of those that serve
CHOICE_LOCAL_THROUGHPUT = 50e6  # on our own networks
CHOICE_RELAY_THROUGHPUT = 128 * KIB  # bytes a second at most through a relay: its limits are small
CHOICE_SIZE = 256 * KIB  # bytes, where nobody says how much is wanted: one chunk
CHOICE_TRIES_UNKNOWN = 0.25  # of choices of three or more that try one stranger: else nobody new would be found out
CHOICE_BACKOFF_SECONDS = 2.0  # that a peer is left alone after a failure; doubles with each in a row
CHOICE_BACKOFF_MAX_SECONDS = 1800.0  # at most
AFFINITY_CONTENTS = 4096  # whose holders are remembered, the last used
AFFINITY_PEERS = 16  # of one content
AFFINITY_LINKS = 65_536  # blocks whose root is remembered
AFFINITY_SECONDS = 86400.0  # half-life: whoever had it yesterday may have dropped it
DEMAND_KEYS = 1024  # contents whose demand is counted, the most wanted
DEMAND_SECONDS = 3600.0  # half-life
PROVIDER_CACHE_KEYS = 4096  # contents whose providers are remembered, the last used
PROVIDER_CACHE_PROVIDERS = 20  # of one
PROVIDER_CACHE_ADDRESSES = 8  # of one provider
PROVIDER_CACHE_SECONDS = 600.0  # that they are believed: half of all nodes stay for 2 h, but not all
PROVIDER_ABSENT_SECONDS = 20.0  # that nobody provides is believed: whoever adds it now is found soon

# --- names ------------------------------------------------------------------------------------------------------------
IPNS_RECORD_BYTES = 10 * KIB  # one record, read or made; the spec's number
IPNS_VALUE_BYTES = 2 * KIB  # of a path that we publish twice in one record, V1 and V2, beside keys and signatures
IPNS_LIFETIME_SECONDS = 48 * 3600.0  # what a record is valid for; as long as the DHT keeps it
IPNS_REPUBLISH_SECONDS = 4 * 3600.0  # between publications of our names; Kubo's number
IPNS_REPUBLISH_MIN_SECONDS = 60.0  # and at least, however short the lifetime; one under twice this may have gaps
IPNS_RETRY_SECONDS = 300.0  # before one that failed is tried again
IPNS_PARALLEL = 4  # names published again at once: a slow one holds up no other
IPNS_TTL_SECONDS = 300.0  # how long others may take it from their caches; Kubo's number
IPNS_MAX_TTL_SECONDS = 7 * 86400.0  # the longest that we believe another's
IPNS_MAX_DEPTH = 32  # names that lead to names; Kubo's number
IPNS_CACHE_NAMES = 1024  # resolved names kept, the last used; a record has at most 10 KiB
IPNS_MARKS = 8192  # names whose newest record is remembered, the last followed; ~100 bytes each
IPNS_MARKS_DROPPED = 64  # deleted from the disk at a time: one may take a millisecond
KEY_FILE_BYTES = 64 * KIB  # of a key that is imported; an RSA key of 8192 bits has 6.5 KiB as PEM
KEYSTORE_MAX_KEYS = 1024  # in one keystore, each republished every 4 h
KEYSTORE_NAME_CHARS = 128  # of a key's name, which is a file's name when encoded

# --- discovery --------------------------------------------------------------------------------------------------------
MDNS_PACKET_BYTES = 9000  # RFC 6762 section 17: the largest mDNS message there may be
MDNS_MAX_RECORDS = 64  # questions and records of one message; Kubo sends one question or five records
MDNS_MAX_JUMPS = 16  # of one compressed name: each may point further back only
MDNS_MAX_ADDRESSES = 16  # of one peer in one message; what a host has on one network is fewer than ten
MDNS_MAX_TEXTS = 64  # strings read of one TXT record
MDNS_TTL_SECONDS = 120  # of what we announce; RFC 6762 section 10 for records that depend on addresses
MDNS_TTL_MAX_SECONDS = 3600  # the longest that we believe another's
MDNS_ANSWER_SECONDS = 1.0  # between two answers of ours on one link, whoever asks: RFC 6762 section 6
MDNS_ANSWER_DELAY = (0.02, 0.12)  # seconds, by chance, so that not all of a link answer at once: RFC 6762 section 6
MDNS_ANNOUNCEMENTS = 2  # answers that nobody asked for, when we come to a link: RFC 6762 section 8.3
MDNS_PER_SOURCE = 10.0  # messages a second of one address that are read; an honest peer sends one
MDNS_PER_LINK = 100.0  # and of all on a link together: addresses of senders can be made up
MDNS_BURST = 2.0  # seconds of either that may come at once
MDNS_MAX_SOURCES = 256  # addresses whose rate is remembered, the last heard
MDNS_MAX_PEERS = 512  # of one link that are remembered, so that they are reported once
MDNS_MAX_PEERS_PER_SOURCE = 8  # that one address may tell of at a time: a host with several nodes
MDNS_COLLECT_SECONDS = 3.0  # how long a round of asking waits for answers
MDNS_WATCH_SECONDS = 10.0  # between looks whether the host has other links
MDNS_MAX_LINKS = 16  # networks of a host that are served
DISCOVERY_PARALLEL = 4  # layers that look for peers at once
DISCOVERY_PENDING = 256  # peers found that wait for a connection; the oldest goes when there are more
DISCOVERY_DIALS = 8  # connections to found peers that are tried at once
DISCOVERY_RETRY_SECONDS = 300.0  # before a peer that was found is dialled once more
DISCOVERY_REMEMBERED = 4096  # peers whose last dial is remembered
DISCOVERY_MAX_ADDRESSES = 32  # of one found peer, as BOOK_MAX_ADDRESSES
DISCOVERY_ROUND_SECONDS = 120.0  # a round that takes longer has failed
DISCOVERY_SLOWEST_SECONDS = 3600.0  # a layer that finds nothing still looks so often
DISCOVERY_FASTEST = 0.5  # of the role's interval, for a layer that finds peers
BOOTSTRAP_MAX_PEERS = 64  # that one list of bootstrap peers with its names leads to
DNSADDR_DEPTH = 8  # names below names
DNSADDR_MAX_LOOKUPS = 32  # of one round: records of others decide which
DNSADDR_MAX_RECORDS = 256  # read of one answer
DNSLINK_MAX_RECORDS = 64  # TXT records of a name that are looked at for a DNSLink
DNS_NAME_CHARS = 253  # of a domain name; RFC 1035 section 2.3.4

# --- files that change ------------------------------------------------------------------------------------------------
MFS_ATTEMPTS = 64  # of one change, where others move the root in between: each that failed let another go on
MFS_BATCH_ENTRIES = 100_000  # put at once, about 300 bytes each until the root moves
MFS_ZERO_BYTES = 1 << 20  # made at a time for a gap in a file

# --- RPC --------------------------------------------------------------------------------------------------------------
RPC_HEADER_BYTES = 16 * KIB  # one request's headers
RPC_MAX_CONNECTIONS = 128  # loopback clients that wait to be accepted

PRESETS: dict[str, tuple[str, ...]] = {
    # Known at the time of writing, never a default: whether they answer is for the user to find out.
    "well-known": (
        "/dnsaddr/bootstrap.libp2p.io/p2p/QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN",
        "/dnsaddr/bootstrap.libp2p.io/p2p/QmQCU2EcMqAqQPR2i9bChDtGNJchTbq5TbXJJ16u19uLTa",
        "/dnsaddr/bootstrap.libp2p.io/p2p/QmbLHAnMoJPWSCR5Zhtx6BHJX9KiKNN6tpvbUcqanj75Nb",
        "/dnsaddr/bootstrap.libp2p.io/p2p/QmcZf59bWwK5XFi76CZX8cbJ4BhTzzA3gU1ZjYZcYW3dwt",
    ),
}


def _without_presets(peers: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(address for peer in peers for address in PRESETS.get(peer, (peer,))))


# settings with a default by role
_OF_ROLE = (
    "low_water", "high_water", "grace", "storage_max", "memory_cache", "prefetch", "replication", "dht_mode", "provide",
)  # fmt: skip
DHT_MAX_PATHS = 8  # of one lookup, that share its requests at once
DHT_MODES = ("server", "client", "off")
PROVIDE = ("all", "roots", "none")


def tier_name(spec: object) -> str:
    """What the tier of a table is called: its ``name``, else its ``type``. ``ConfigError`` for what is no table."""
    if not isinstance(spec, Mapping) or not isinstance(spec.get("type"), str):
        what = f"one with {', '.join(map(str, spec))}" if isinstance(spec, Mapping) else f"a {type(spec).__name__}"
        raise ConfigError(f"each of tiers is a table with a type, such as [[tiers]] type = 'kubo'; not {what}")
    name = spec.get("name", spec["type"])
    if not isinstance(name, str) or not name or len(name) > MAX_TIER_NAME:
        raise ConfigError(f"the name of a tier is a text of 1 to {MAX_TIER_NAME} characters, not {name!r}")
    return name


@dataclass(frozen=True, kw_only=True)
class NodeConfig:
    """What a node is started with. Sizes are bytes, times seconds, addresses multiaddr text.

    ``repo`` is the folder of identity, blocks and address book; ``None`` keeps everything in memory. ``peers`` are
    dialled and dialled again: multiaddrs with ``/p2p/<id>``, or the name of one of the ``PRESETS``. ``bootstrap``, the
    same or ``/dnsaddr`` names, are where other peers are first heard of, dialled while there are too few. ``mdns``:
    whether peers are looked for on the networks that this node listens on, loopback aside.
    ``allow`` and ``deny`` gate by peer id or CIDR (``"10.0.0.0/8"``); a non-empty ``allow`` refuses all others.
    What is ``None`` is as the role has it: quota and memory tier in bytes, water marks and grace of connections,
    whether blocks are fetched ahead, in how many places, this node among them, a pin is to be, whether it serves the
    public DHT (``dht_mode``: ``server``, ``client``, ``off`` for no DHT at all; ``dht_paths``: disjoint paths of a
    lookup, against peers that surround a key, 1 to 8), and what it tells the DHT that it has
    (``provide``: ``all`` that is pinned, its ``roots``, ``none``).
    ``shared_memory`` has the memory tier in ``/dev/shm``, for other processes to read in place (docs/store-format.md).
    ``tiers`` are tables with a ``type`` and what that needs (docs/tiers.md). ``libp2p=False`` leaves the tiers alone
    to fetch from, ``offline`` nothing.
    """

    repo: Path | None = None
    role: str = "leecher"
    listen: tuple[str, ...] = ("/ip4/127.0.0.1/tcp/0",)
    announce: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    bootstrap: tuple[str, ...] = ()
    mdns: bool = True
    dht_mode: str | None = None
    dht_paths: int = 1
    provide: str | None = None
    identity_path: Path | None = None
    offline: bool = False
    storage_max: int | None = None
    memory_cache: int | None = None
    prefetch: bool | None = None
    replication: int | None = None
    profile: str = "unixfs-v1-2025"
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    low_water: int | None = None
    high_water: int | None = None
    grace: float | None = None
    agent: str = "ipfs-kit-py/1.0"
    shared_memory: bool = False
    libp2p: bool = True
    tiers: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ConfigError(f"role {self.role!r} is not one of {', '.join(ROLES)}")
        for name, unit in (("storage_max", " bytes"), ("memory_cache", " bytes"), ("replication", "")):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ConfigError(f"{name} must be 0 or more{unit}, not {value}")
        for name, known in (("dht_mode", DHT_MODES), ("provide", PROVIDE)):
            if (value := getattr(self, name)) is not None and value not in known:
                raise ConfigError(f"{name} is one of {', '.join(known)}, not {value!r}")
        if not 1 <= self.dht_paths <= DHT_MAX_PATHS:
            raise ConfigError(f"dht_paths is 1 to {DHT_MAX_PATHS}, not {self.dht_paths}")
        names = [tier_name(spec) for spec in self.tiers]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"two tiers are called {name!r}: give each [[tiers]] a name of its own")

    @property
    def role_policy(self) -> Role:
        """The row of the role table, with this configuration's own values where it has some."""
        row = ROLES[self.role]
        own = {name: value for name in _OF_ROLE if (value := getattr(self, name)) is not None}
        return replace(row, **own) if own else row

    @property
    def peer_addresses(self) -> tuple[str, ...]:
        """``peers`` with the addresses of presets in place of their names, each once."""
        return _without_presets(self.peers)

    @property
    def bootstrap_addresses(self) -> tuple[str, ...]:
        """``bootstrap`` likewise."""
        return _without_presets(self.bootstrap)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values; what the role decides is filled in."""
        own = {item.name: getattr(self, item.name) for item in fields(self)}
        return own | {name: getattr(self.role_policy, name) for name in _OF_ROLE}
