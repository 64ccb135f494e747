// Takes one message, prints its body and attributes as JSON, deletes it and ends. Argument: the queue's URL.
import { SQSClient } from "@aws-sdk/client-sqs";
import { Consumer } from "sqs-consumer";

const consumer = Consumer.create({
  queueUrl: process.argv[2],
  sqs: new SQSClient({ endpoint: process.env.AWS_ENDPOINT_URL, region: process.env.AWS_REGION }),
  messageAttributeNames: ["All"],
  waitTimeSeconds: 5,
  handleMessage: async (message) => {
    console.log(JSON.stringify({ body: JSON.parse(message.Body), attributes: message.MessageAttributes }));
    consumer.stop();
    return message;
  },
});
for (const event of ["error", "processing_error"]) {
  consumer.on(event, (error) => {
    console.error(error);
    process.exit(1);
  });
}
consumer.start();
