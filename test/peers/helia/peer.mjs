// One Helia node on loopback, driven by JSON lines on standard input; it ends when that input does.
// Composed by hand: Helia's ready-made node would use mDNS, bootstrap peers, HTTP routers and every interface.
import fs from 'node:fs'
import fsp from 'node:fs/promises'
import readline from 'node:readline'
import { withBitswap } from '@helia/bitswap'
import { withLibp2pLight } from '@helia/libp2p'
import { globSource, unixfs } from '@helia/unixfs'
import * as dagCbor from '@ipld/dag-cbor'
import { noise } from '@libp2p/noise'
import { identify } from '@libp2p/identify'
import { peerIdFromString } from '@libp2p/peer-id'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { MemoryBlockstore } from 'blockstore-core'
import { MemoryDatastore } from 'datastore-core'
import { createHeliaLight } from 'helia'
import { CID } from 'multiformats/cid'

const LIMIT = 600_000 // milliseconds for one operation; the other side has its own limit

// The DHT of its own networks alone, and only where a test wants one: it asks around by itself.
async function dht () {
  const { kadDHT, removePublicAddressesMapper } = await import('@libp2p/kad-dht')
  const { ipnsSelector } = await import('ipns/selector')
  const { ipnsValidator } = await import('ipns/validator')
  return kadDHT({
    protocol: '/ipfs/lan/kad/1.0.0',
    peerInfoMapper: removePublicAddressesMapper,
    clientMode: false,
    validators: { ipns: ipnsValidator },
    selectors: { ipns: ipnsSelector }
  })
}

const light = createHeliaLight({
  blockstore: new MemoryBlockstore(),
  datastore: new MemoryDatastore(),
  codecs: [dagCbor]
})
const helia = withBitswap(withLibp2pLight(light, {
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: { identify: identify(), ping: ping(), ...(process.argv.includes('dht') && { dht: await dht() }) }
}))
await helia.start()
const files = unixfs(helia)
const libp2p = helia.libp2p
const signal = () => AbortSignal.timeout(LIMIT)

async function last (source) {
  let found
  for await (const item of source) found = item
  return found
}

async function bytes (source) {
  if (source instanceof Uint8Array) return source
  if (typeof source?.then === 'function') return bytes(await source)
  const parts = []
  for await (const part of source) parts.push(part)
  return Buffer.concat(parts)
}

async function links (cid, block) {
  const codec = await helia.getCodec(cid.code)
  const found = []
  const visit = value => {
    const link = CID.asCID(value)
    if (link != null) found.push(link)
    else if (value instanceof Uint8Array || value === null || typeof value !== 'object') return
    else Object.values(value).forEach(visit)
  }
  visit(codec.decode(block))
  return found
}

const operations = {
  async connect (address) {
    const connection = await libp2p.dial(multiaddr(address), { signal: signal() })
    return { peer: String(connection.remotePeer), encryption: connection.encryption, muxer: connection.multiplexer }
  },
  async disconnect (peer) {
    await libp2p.hangUp(peerIdFromString(peer))
  },
  async identify (address) {
    const connection = await libp2p.dial(multiaddr(address), { signal: signal() })
    const found = await libp2p.services.identify.identify(connection)
    return { agent: found.agentVersion, protocols: found.protocols, addresses: found.listenAddrs.map(String) }
  },
  async ping (address) {
    return await libp2p.services.ping.ping(multiaddr(address), { signal: signal() }) / 1000
  },
  async add (path, options) {
    if (!fs.statSync(path).isDirectory()) {
      return String(await files.addByteStream(fs.createReadStream(path, { highWaterMark: 1 << 20 }), options))
    }
    const source = globSource(path, '**/*', { hidden: true })
    return String((await last(files.addAll(source, { ...options, wrapWithDirectory: true }))).cid)
  },
  async get (cid, path) {
    const file = await fsp.open(path, 'w')
    try {
      for await (const data of files.cat(CID.parse(cid), { signal: signal() })) await file.write(data)
    } finally {
      await file.close()
    }
  },
  async ls (cid) {
    const found = []
    for await (const entry of files.ls(CID.parse(cid), { signal: signal() })) found.push([entry.name, String(entry.cid)])
    return found
  },
  async walk (root) {
    const seen = new Set()
    const queue = [CID.parse(root)]
    const visit = async cid => {
      const block = await bytes(helia.blockstore.get(cid, { signal: signal() }))
      queue.push(...await links(cid, block))
    }
    while (queue.length > 0) {
      // many at once: one after another each waits for the wantlist to be sent
      const batch = queue.splice(0, 256).filter(cid => !seen.has(String(cid)) && seen.add(String(cid)))
      await Promise.all(batch.map(visit))
    }
    return [...seen]
  },
  async dhtSize () {
    return libp2p.services.dht.routingTable.size
  },
  async provide (cid) {
    await libp2p.contentRouting.provide(CID.parse(cid), { signal: signal() })
  },
  async findProviders (cid) {
    const found = {}
    for await (const peer of libp2p.contentRouting.findProviders(CID.parse(cid), { signal: signal() })) {
      found[peer.id] = peer.multiaddrs.map(String)
    }
    return found
  },
  async findPeer (peer) {
    return (await libp2p.peerRouting.findPeer(peerIdFromString(peer), { signal: signal() })).multiaddrs.map(String)
  },
  async publish (value) {
    const { createIPNSRecord, marshalIPNSRecord, multihashToIPNSRoutingKey } = await import('ipns')
    const { generateKeyPair } = await import('@libp2p/crypto/keys')
    const key = await generateKeyPair('Ed25519')
    const name = key.publicKey.toMultihash()
    const record = await createIPNSRecord(key, value, 1, 3_600_000)
    await libp2p.contentRouting.put(multihashToIPNSRoutingKey(name), marshalIPNSRecord(record), { signal: signal() })
    return String(key.publicKey)
  },
  async resolve (peer) {
    const { multihashToIPNSRoutingKey, unmarshalIPNSRecord } = await import('ipns')
    const key = multihashToIPNSRoutingKey(peerIdFromString(peer).toMultihash())
    return unmarshalIPNSRecord(await libp2p.contentRouting.get(key, { signal: signal() })).value
  },
  async blockPut (cid, path) {
    await helia.blockstore.put(CID.parse(cid), await fsp.readFile(path))
  },
  async blockGet (cid, path) {
    await fsp.writeFile(path, await bytes(helia.blockstore.get(CID.parse(cid), { signal: signal() })))
  }
}

const say = value => process.stdout.write(JSON.stringify(value) + '\n')
say({ ready: true, peer_id: String(libp2p.peerId), addresses: libp2p.getMultiaddrs().map(String) })
for await (const line of readline.createInterface({ input: process.stdin })) {
  const request = JSON.parse(line)
  try {
    say({ value: await operations[request.op](...request.args) ?? null })
  } catch (error) {
    say({ error: String(error?.stack ?? error) })
  }
}
process.exit(0)
