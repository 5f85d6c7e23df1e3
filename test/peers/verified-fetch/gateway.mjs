// Helia's verified-fetch behind node:http: a trustless gateway of another make than Kubo's, over blocks in memory.
// Driven by JSON lines on standard input; it ends when that input does. No networking but its own port on loopback.
import fsp from 'node:fs/promises'
import http from 'node:http'
import readline from 'node:readline'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createVerifiedFetchWithHelia } from '@helia/verified-fetch'
import { CarBlockIterator } from '@ipld/car/iterator'
import * as dagCbor from '@ipld/dag-cbor'
import { MemoryBlockstore } from 'blockstore-core'
import { MemoryDatastore } from 'datastore-core'
import { createHeliaLight } from 'helia'
import { CID } from 'multiformats/cid'

const FORWARDED = ['accept', 'range', 'cache-control']

// verified-fetch rejects promises that nobody holds where a client leaves in the middle
process.on('unhandledRejection', error => console.error(error))

const blockstore = new MemoryBlockstore()
// verified-fetch wants someone to ask for what is not here; here nobody has anything
const nobody = {
  name: 'nobody',
  createSession: () => nobody,
  retrieve: async cid => { throw Object.assign(new Error(`${cid} is not here`), { name: 'NotFoundError' }) }
}
const helia = createHeliaLight({
  blockstore, datastore: new MemoryDatastore(), codecs: [dagCbor], blockBrokers: [() => nobody]
})
await helia.start()
const fetch = await createVerifiedFetchWithHelia(helia)
const requests = []

const server = http.createServer(async (request, response) => {
  requests.push(`${request.method} ${request.url}`)
  const left = new AbortController()
  response.on('close', () => left.abort())
  try {
    const [, root, rest] = /^\/ipfs\/([^/?]+)(.*)$/.exec(request.url) ?? []
    if (root == null) return response.writeHead(404).end()
    const cid = CID.parse(root)
    if (cid.multihash.code !== 0 && !await blockstore.has(cid)) {
      return response.writeHead(request.headers['cache-control'] === 'only-if-cached' ? 412 : 404).end()
    }
    const headers = Object.fromEntries(FORWARDED.map(name => [name, request.headers[name]]).filter(pair => pair[1]))
    const found = await fetch(`ipfs://${root}${rest}`, { method: request.method, headers, signal: left.signal })
    response.writeHead(found.status, Object.fromEntries(found.headers))
    if (found.body == null || request.method === 'HEAD') return response.end()
    await pipeline(Readable.fromWeb(found.body), response)
  } catch (error) {
    if (!response.headersSent) response.writeHead(500).end(String(error))
    else response.destroy()
  }
})
await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))

const operations = {
  async load (path) {
    let count = 0
    for await (const { cid, bytes } of await CarBlockIterator.fromBytes(await fsp.readFile(path))) {
      await blockstore.put(cid, bytes)
      count++
    }
    return count
  },
  async requests () {
    return requests
  }
}

const say = value => process.stdout.write(JSON.stringify(value) + '\n')
say({ ready: true, peer_id: '', addresses: [`http://127.0.0.1:${server.address().port}`] })
for await (const line of readline.createInterface({ input: process.stdin })) {
  const request = JSON.parse(line)
  try {
    say({ value: await operations[request.op](...request.args) ?? null })
  } catch (error) {
    say({ error: String(error?.stack ?? error) })
  }
}
process.exit(0)
