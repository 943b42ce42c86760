// The published npm client with nothing changed but the base address. Arguments: base, UUID.
const { HealthChecksPingClient } = require('healthchecks-io-client');

async function main() {
  const [baseUrl, uuid] = process.argv.slice(2);
  const client = new HealthChecksPingClient({ uuid, baseUrl });
  await client.start();
  await client.success('all good');
  await client.fail('7 rows');
}

main().catch((error) => { console.error(error.message); process.exit(1); });
