'use strict'
// Builds the scripts that relay serves out of their sources in src/www/js.
//   node scripts.js build    writes them
//   node scripts.js check    says whether what is there is what would be written

const fs = require('node:fs')
const path = require('node:path')
const { minify } = require('terser')

const FOLDER = path.join(__dirname, '../../src/www/js')
const read = name => fs.readFileSync(path.join(FOLDER, name), 'utf8')

/** What is built: the sources that must be there, what the file begins with, and its code before it is made small. */
const SCRIPTS = {
  'node_im.min.js': {
    sources: ['node_im.js'],
    header: "/* relay's browser client XIN_NODE (NODE_IM), made of node_im.js beside it */",
    code: client => client
  },
  // With a client of its own, which neither sees nor disturbs the page's: its `var`s are local here, and so is `module`.
  'node_im_remote_debug.js': {
    sources: ['node_im.js', 'remote_debug.js'],
    header: "/* relay's remote console, made of remote_debug.js and node_im.js beside it */",
    code: (client, debug) => `(function () {\nvar module;\n${client}\n${debug}\n}());`
  }
}

/** The scripts whose sources are there, as they should be: [name, text]. */
async function build() {
  const built = []
  for (const [name, { sources, header, code }] of Object.entries(SCRIPTS)) {
    if (!sources.every(source => fs.existsSync(path.join(FOLDER, source)))) continue
    const small = await minify(code(...sources.map(read)), { ecma: 5, safari10: true, format: { ascii_only: true, comments: false } })
    built.push([name, `${header}\n${small.code}\n`])
  }
  return built
}

async function main(command) {
  if (command !== 'build' && command !== 'check') throw new Error('node scripts.js build | check')
  for (const [name, text] of await build()) {
    if (command === 'build') fs.writeFileSync(path.join(FOLDER, name), text)
    const right = read(name) === text
    console.log(`${name}: ${Buffer.byteLength(text)} bytes${right ? '' : ', but another is committed: node scripts.js build'}`)
    if (!right) process.exitCode = 1
  }
}

module.exports = { build, read }
if (require.main === module) {
  main(process.argv[2]).catch(error => {
    console.error(error.message)
    process.exitCode = 2
  })
}
