// The real @storacha/upload-api on loopback: its stores in memory, its storage nodes over HTTP. One JSON request a line
// on standard input; it ends when that input does. What the package's own test context leaves to whoever runs it:
// listening on loopback alone, the receipts' and the claims' routes, and what e-mail login would have provisioned.
import fs from 'node:fs/promises'
import http from 'node:http'
import readline from 'node:readline'
import { ShardedDAGIndex } from '@storacha/blob-index'
import { Provider } from '@storacha/capabilities'
import * as QueryResult from '@storacha/indexing-service-client/query-result'
import { createContext } from '@storacha/upload-api/test/context'
import { uploadFile } from '@storacha/upload-client'
import { Delegation, Message, parseLink } from '@ucanto/core'
import { ed25519 } from '@ucanto/principal'
import * as CAR from '@ucanto/transport/car'
import { base58btc } from 'multiformats/bases/base58'
import * as Digest from 'multiformats/hashes/digest'

console.log = console.info = console.warn = console.error // standard output carries answers alone
const say = value => process.stdout.write(JSON.stringify(value) + '\n')
const counts = { put: 0, putBytes: 0, get: 0 }
let late = 0 // requests for receipts that are answered 404 although there is one

const collect = async request => {
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  return Buffer.concat(chunks)
}

// The package's storage nodes listen on all interfaces, and destroy a connection before what they wrote has left.
const loopback = {
  ...http,
  createServer: handler => {
    const server = http.createServer((request, response) => {
      const destroy = response.destroy.bind(response)
      response.destroy = () => (response.writableFinished ? destroy() : response.once('finish', destroy))
      if (request.method === 'PUT') {
        counts.put += 1
        counts.putBytes += Number(request.headers['content-length'] ?? 0)
      }
      if (request.method === 'GET') counts.get += 1
      return handler(request, response)
    })
    const listen = server.listen.bind(server)
    server.listen = done => listen(0, '127.0.0.1', done)
    return server
  }
}

const context = await createContext({
  requirePaymentPlan: false,
  http: loopback,
  assert: { fail: error => console.error('the service failed:', error) }
})
const channel = context.connection.channel

const receipt = async cid => {
  if (late > 0) {
    late -= 1
    return null
  }
  const found = await context.agentStore.receipts.get(parseLink(cid))
  if (found.error) return null
  const message = await Message.build({ receipts: [found.ok] })
  return CAR.request.encode(message)
}

const claims = async multihash => {
  const found = await context.indexingService.queryClaims({ hashes: [Digest.decode(base58btc.decode(multihash))] })
  if (found.error) throw new Error(found.error.message)
  const archive = await QueryResult.archive(found.ok)
  if (archive.error) throw new Error(archive.error.message)
  return archive.ok
}

const answer = async (request, response) => {
  const url = new URL(request.url, 'http://127.0.0.1')
  if (request.method === 'POST' && url.pathname === '/') {
    const got = await channel.request({ headers: request.headers, body: new Uint8Array(await collect(request)) })
    response.writeHead(got.status ?? 200, got.headers).end(Buffer.from(got.body))
  } else if (url.pathname.startsWith('/receipt/')) {
    const encoded = await receipt(url.pathname.slice('/receipt/'.length))
    if (encoded === null) response.writeHead(404).end()
    else response.writeHead(200, { 'content-type': 'application/vnd.ipld.car' }).end(Buffer.from(encoded.body))
  } else if (url.pathname === '/claims') {
    response.writeHead(200, { 'content-type': 'application/vnd.ipld.car' })
    response.end(Buffer.from(await claims(url.searchParams.get('multihash'))))
  } else {
    response.writeHead(404).end()
  }
}

const operations = {
  // Give a space a plan: stands for a login by e-mail and a payment.
  provision: async space => {
    const customer = 'did:mailto:example.org:test'
    const cause = await Provider.add
      .invoke({
        issuer: context.id,
        audience: context.id,
        with: customer,
        nb: { provider: context.id.did(), consumer: space }
      })
      .delegate()
    const done = await context.provisionsStorage.put({ cause, consumer: space, customer, provider: context.id.did() })
    if (done.error) throw new Error(String(done.error))
  },

  // Upload a file with the service's own client into a new space; rights to the space are delegated to `audience`.
  upload: async (path, audience, shardSize) => {
    const space = await ed25519.generate()
    await operations.provision(space.did())
    const root = await uploadFile(
      { issuer: space, with: space.did(), audience: context.id },
      new Blob([await fs.readFile(path)]),
      { connection: context.connection, receiptsEndpoint: `${base}/receipt/`, shardSize }
    )
    const right = await Delegation.delegate({
      issuer: space,
      audience: { did: () => audience },
      capabilities: ['space/blob/*', 'space/index/*', 'upload/*'].map(can => ({ can, with: space.did() })),
      expiration: Infinity
    })
    const archive = await right.archive()
    return { root: String(root), space: space.did(), archive: Buffer.from(archive.ok).toString('base64') }
  },

  // What the service's own library makes of the index that claims of a root name: where each slice is.
  index: async root => {
    const digest = parseLink(root).multihash
    const found = await context.indexingService.queryClaims({ hashes: [digest] })
    const claim = [...found.ok.claims.values()].find(item => item.type === 'assert/index')
    const stream = await context.blobRetriever.stream(claim.index.multihash)
    const extracted = ShardedDAGIndex.extract(new Uint8Array(await new Response(stream.ok).arrayBuffer()))
    if (extracted.error) throw new Error(String(extracted.error))
    return {
      content: String(extracted.ok.content),
      shards: [...extracted.ok.shards].map(([shard, slices]) => ({
        shard: base58btc.encode(shard.bytes),
        slices: [...slices].map(([slice, place]) => [base58btc.encode(slice.bytes), ...place])
      }))
    }
  },

  // The bytes of a blob as the service itself finds them, into a file.
  blob: async (digest, path) => {
    const stream = await context.blobRetriever.stream(Digest.decode(base58btc.decode(digest)))
    if (stream.error) throw new Error(String(stream.error))
    await fs.writeFile(path, Buffer.from(await new Response(stream.ok).arrayBuffer()))
  },

  // How many blobs and uploads a space has.
  holds: async space => ({
    blobs: (await context.registry.entries(space)).ok.results.length,
    uploads: (await context.uploadTable.list(space)).ok.results.length
  }),

  counts: async () => ({ ...counts }),

  lateReceipts: async count => {
    late = count
  }
}

const server = http.createServer((request, response) => {
  answer(request, response).catch(error => {
    console.error(error)
    if (!response.headersSent) response.writeHead(500)
    response.end()
  })
})
await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
const base = `http://127.0.0.1:${server.address().port}`
say({ ready: true, peer_id: context.id.did(), addresses: [base], key: context.id.toDIDKey() })

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { op, args } = JSON.parse(line)
  try {
    say({ value: (await operations[op](...args)) ?? null })
  } catch (error) {
    say({ error: String(error.stack ?? error) })
  }
}
process.exit(0)
