// A client of .NET over TLS, for tls.test.js: logs in with a WebSocket, publishes with an HTTPS request, gets this message, sends
// another one, gets it too, and closes. Prints what it got. Arguments: HOST:PORT, the query of the login, the form of a
// notification, and a message.
using System;
using System.IO;
using System.Net;
using System.Net.WebSockets;
using System.Text;
using System.Threading;

class Client {
  static readonly ClientWebSocket socket = new ClientWebSocket();

  static string Receive() {
    var message = new MemoryStream();
    var buffer = new ArraySegment<byte>(new byte[4096]);
    WebSocketReceiveResult part;
    do {
      part = socket.ReceiveAsync(buffer, CancellationToken.None).Result;
      message.Write(buffer.Array, 0, part.Count);
    } while (!part.EndOfMessage);
    return Encoding.UTF8.GetString(message.ToArray());
  }

  static string Post(string url, string form) {
    var request = (HttpWebRequest)WebRequest.Create(url);
    request.Method = "POST";
    request.ContentType = "application/x-www-form-urlencoded";
    var body = Encoding.UTF8.GetBytes(form);
    using (var stream = request.GetRequestStream()) stream.Write(body, 0, body.Length);
    using (var answer = request.GetResponse())
    using (var reader = new StreamReader(answer.GetResponseStream())) return reader.ReadToEnd();
  }

  static void Main(string[] args) {
    Console.OutputEncoding = new UTF8Encoding(false);
    socket.ConnectAsync(new Uri("wss://" + args[0] + "/ws?" + args[1]), CancellationToken.None).Wait();
    Console.WriteLine("open");
    Console.WriteLine(Post("https://" + args[0] + "/api/notify", args[2]));
    Console.WriteLine(Receive());
    var bytes = new ArraySegment<byte>(Encoding.UTF8.GetBytes(args[3]));
    socket.SendAsync(bytes, WebSocketMessageType.Text, true, CancellationToken.None).Wait();
    Console.WriteLine(Receive());
    socket.CloseAsync(WebSocketCloseStatus.NormalClosure, "", CancellationToken.None).Wait();
    Console.WriteLine(socket.CloseStatus);
    Environment.Exit(0);
  }
}
